"""The device runtime stands alone: it imports nothing of the host's rooms, and never torch."""

import ast
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import edge_se

ROOM = Path(edge_se.__file__).parent
FORBIDDEN = {"torch", "quant", "targets", "calib_data", "scipy", "litert_torch"}
AT_TOP = {*sys.stdlib_module_names, "numpy", "edge_se"}


def imported(nodes) -> set[str]:
    """First parts of the modules that import statements among `nodes` name."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, "relative import"
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


def modules_after(code: str) -> set[str]:
    script = f"{code}\nimport sys\nprint(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    return set(result.stdout.split())


@pytest.mark.parametrize("path", sorted(ROOM.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOM)))
def test_imports_go_one_way(path):
    tree = ast.parse(path.read_text())

    assert not imported(ast.walk(tree)) & FORBIDDEN
    assert imported(tree.body) <= AT_TOP


def test_enhancing_imports_no_torch(tiny_int8):
    modules = modules_after(
        "import numpy, edge_se;"
        f"edge_se.Enhancer({str(tiny_int8)!r}).enhance(numpy.zeros(5000, 'f4'))"
    )

    assert "ai_edge_litert" in modules
    assert not modules & (FORBIDDEN | {"tensorflow", "onnxruntime", "soundfile", "soxr"})


def test_importing_the_package_imports_nothing_heavy():
    assert not modules_after("import edge_se") & {"numpy", "ai_edge_litert", "importlib.metadata"}


def test_the_version_is_that_of_the_installed_package():
    assert edge_se.__version__ == version("edge-se")


def test_the_package_has_no_other_attributes():
    with pytest.raises(AttributeError, match="no attribute 'Enhanced'"):
        _ = edge_se.Enhanced
