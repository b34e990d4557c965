"""The rooms of the project and what each may import."""

from pathlib import Path

import pytest

from benchmarks.rooms import find_imports

REPOSITORY = Path(__file__).resolve().parent.parent
FORBIDDEN = {
    "edge_se": {
        *("quant", "targets", "calib_data", "benchmarks"),
        *("torch", "litert_torch", "ai_edge_quantizer"),
    },
    "calib_data": {"quant", "targets", "benchmarks", "torch"},
    "quant": {"targets", "benchmarks"},
    "targets": {"benchmarks"},
}


@pytest.mark.parametrize("room", FORBIDDEN)
def test_imports_go_one_way(room: str) -> None:
    imports = {
        path: {name.split(".")[0] for name in find_imports(path)}
        for path in (REPOSITORY / room).rglob("*.py")
    }

    wrong = {str(p.relative_to(REPOSITORY)): n & FORBIDDEN[room] for p, n in imports.items()}

    assert imports
    assert not {path: names for path, names in wrong.items() if names}
