"""The rooms of the project and what each may import."""

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
FORBIDDEN = {
    "edge_se": {"quant", "targets", "calib_data", "torch", "litert_torch", "ai_edge_quantizer"},
    "quant": {"targets"},
}


def _imports(path: Path) -> set[str]:
    """Top-level names of all modules that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("room", FORBIDDEN)
def test_imports_go_one_way(room: str) -> None:
    imports = {path: _imports(path) for path in (REPOSITORY / room).rglob("*.py")}

    wrong = {str(p.relative_to(REPOSITORY)): n & FORBIDDEN[room] for p, n in imports.items()}

    assert imports
    assert not {path: names for path, names in wrong.items() if names}
