"""Bundles: what is in them, the same bytes every time, and what is refused."""

import hashlib
import io
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

import edge_se
from edge_se.core import LIBRARY
from edge_se.ending import Ended
from edge_se.errors import UserError
from edge_se.model_file import find_model
from targets import bundle as bundles
from targets import cross
from targets.board.installer.bundle import verify
from targets.board.installer.errors import RefusedError
from targets.boards import find_board
from targets.bundle import build_bundle, read_bundle, write_bundle
from targets.deployment import Target, deploy, plan
from targets.remote import Connection
from targets.wheels import runtime_wheel
from tests.helpers.engines import float_library
from tests.helpers.releases import BARE_BOARD
from tests.helpers.tiny_model import write_tiny
from tests.helpers.tiny_onnx import write_tiny_onnx
from tests.helpers.tiny_separator import write_separator

MODEL = find_model("gtcrn")


def wheel(path):
    with zipfile.ZipFile(path, "w") as archive:
        # The same whenever it is written.
        module = zipfile.ZipInfo(f"{path.name.split('-')[0]}/__init__.py")
        archive.writestr(module, "x = 1\n" * 100)
    return path


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Build a bundle with small wheels in place of those from the package index."""

    def fetch(pins, platform, python):
        names = (f"{pin.replace('==', '-')}-py3-none-any.whl" for pin in pins)
        return [wheel(tmp_path / name) for name in sorted(names)]

    monkeypatch.setattr(bundles, "fetch_wheels", fetch)
    return lambda board="pi4", python="3.11", model=MODEL: build_bundle(
        find_board(board), python, model
    )


def contents(bundle) -> dict[str, bytes]:
    files = {}
    with tarfile.open(fileobj=io.BytesIO(bundle.data)) as archive:
        for member in archive:
            file = archive.extractfile(member)
            assert file is not None, f"{member.name} is no file"
            files[member.name] = file.read()
    return files


def test_a_bundle_holds_what_the_board_needs(build):
    files = contents(build())

    names = {name.removeprefix("edge-se-bundle/") for name in files}
    assert {"SHA256SUMS", "bundle.json", "install.pyz", "edge-se.service", "model.tflite"} < names
    wheels = {name.split("/")[1].split("-")[0] for name in names if name.startswith("wheels/")}
    assert wheels == {"ai", "numpy", "pip", "edge_se"}
    assert files["edge-se-bundle/model.tflite"] == MODEL.read_bytes()


@pytest.mark.parametrize(
    ("board", "tag", "machine"),
    [
        ("pi4", "manylinux_2_28_aarch64", 183),
        ("armv7", "manylinux_2_31_armv7l", 40),
        ("x86-64", "manylinux_2_28_x86_64", 62),
    ],
)
def test_a_bundle_carries_the_core_compiled_for_the_board(build, board, tag, machine):
    files = contents(build(board))

    (name,) = (name for name in files if "/edge_se-" in name)
    assert name.endswith(f"-py3-none-{tag}.whl")
    with zipfile.ZipFile(io.BytesIO(files[name])) as archive:
        library = archive.read(f"edge_se/core/{LIBRARY}")
    assert library[:4] == b"\x7fELF"
    assert int.from_bytes(library[18:20], "little") == machine


@pytest.fixture(scope="module")
def pi4_engine(tmp_path_factory) -> Path:
    """The default network, compiled for a Raspberry Pi 4."""
    compiler = cross.find_cross_compiler(find_board("pi4").platform)
    path = tmp_path_factory.mktemp("engine") / "pi4.so"
    path.write_bytes(float_library(compiler))
    return path


def test_a_compiled_engine_needs_no_tflite_runtime_on_the_board(build, pi4_engine):
    bundle = build(model=pi4_engine)

    names = {name.removeprefix("edge-se-bundle/") for name in contents(bundle)}
    assert "model.so" in names and "model.tflite" not in names
    wheels = {name.split("/")[1].split("-")[0] for name in names if name.startswith("wheels/")}
    assert wheels == {"numpy", "pip", "edge_se"}
    assert bundle.description["model"]["file"] == "model.so"


@pytest.mark.parametrize("board", ["armv7", "x86-64"])
def test_an_engine_for_another_machine_is_refused(build, pi4_engine, board):
    with pytest.raises(UserError, match="compiled for another machine; make it with edge-se"):
        build(board, model=pi4_engine)


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the bundle is for x86-64")
def test_a_compiled_engine_is_installed_without_a_tflite_runtime(tmp_path):
    here = find_board("x86-64")
    engine = tmp_path / "engine.so"
    compiler = cross.find_cross_compiler(here.platform)
    engine.write_bytes(float_library(compiler))
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    write_bundle(tmp_path / "b.tar.gz", build_bundle(here, python, engine))
    subprocess.run(["tar", "xzf", "b.tar.gz"], cwd=tmp_path, check=True)

    script = tmp_path / "edge-se-bundle" / "install.pyz"
    command = [sys.executable, script, "--root", tmp_path / "root"]
    # A checkout in the way, which is not what gets installed.
    checkout = str(Path(edge_se.__file__).parents[1])
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": checkout})

    (report,) = (tmp_path / "root").glob("releases/*/report.json")
    assert json.loads(report.read_text())["benchmark"]["model"]["engine"] == "c"
    assert not list((tmp_path / "root").glob("releases/*/env/lib/*/site-packages/ai_edge_litert"))


def test_without_a_cross_compiler_there_is_no_bundle(build, monkeypatch):
    monkeypatch.setattr(cross.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")

    with pytest.raises(UserError, match="pip install ziglang, or install aarch64-linux-gnu-gcc"):
        build()


def test_32_bit_arm_gets_no_numpy_and_sees_the_systems(build):
    bundle = build("armv7")

    assert not any("numpy" in name for name in contents(bundle))
    assert bundle.description["system_numpy"]


def test_the_same_bundle_has_the_same_bytes(build, tmp_path):
    first = build()
    copy = tmp_path / MODEL.name
    shutil.copyfile(MODEL, copy)
    os.utime(copy, (0, 0))

    assert build(model=copy).data == first.data


def test_another_model_makes_another_release(build):
    assert build().id != build("pi5").id


def test_the_checksums_are_those_that_sha256sum_checks(build):
    files = contents(build())

    lines = files.pop("edge-se-bundle/SHA256SUMS").decode().splitlines()

    listed = {f"edge-se-bundle/{line.split('  ')[1]}": line.split("  ")[0] for line in lines}
    assert listed == {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


def test_a_bundle_is_read_as_it_was_written(build, tmp_path):
    bundle = build()
    write_bundle(tmp_path / "b.tar.gz", bundle)

    assert read_bundle(tmp_path / "b.tar.gz") == bundle


@pytest.mark.parametrize("damage", ["cut", "flipped", "text"])
def test_a_damaged_bundle_is_refused(build, tmp_path, damage):
    data = bytearray(build().data)
    if damage == "cut":
        data = data[: len(data) // 2]
    elif damage == "flipped":
        data[len(data) // 2] ^= 1
    else:
        data = bytearray(b"no bundle")
    path = tmp_path / "b.tar.gz"
    path.write_bytes(data)

    with pytest.raises(UserError, match=r"is no whole bundle \(.*\); make it again with"):
        read_bundle(path)


def test_only_an_archives_name_is_written_to(build, tmp_path):
    with pytest.raises(UserError, match=r"a bundle's name ends in \.tar\.gz"):
        write_bundle(tmp_path / "bundle.zip", build())


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--board", "pi9"), "there is no board 'pi9'"),
        (("--board", "pi4", "--python", "3.9"), "ai-edge-litert 2.3.0 has no aarch64 wheel for"),
        (("--board", "pi4", "--model", "absent.tflite"), "there is no model file absent.tflite"),
    ],
)
def test_the_command_says_what_is_wrong(edge_se, tmp_path, arguments, complaint):
    result = edge_se("bundle", *arguments, "--out", "b.tar.gz")

    assert result.returncode == 2
    assert result.stderr.startswith(f"edge-se: error: {complaint}")
    assert list(tmp_path.iterdir()) == []


def test_the_runtimes_wheel_is_the_same_every_time_and_installs(tmp_path):
    here = find_board("x86-64").platform
    name, data = runtime_wheel(here)
    (tmp_path / name).write_bytes(data)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]

    subprocess.run([*command, "--target", tmp_path / "site", tmp_path / name], check=True)

    assert runtime_wheel(here) == (name, data)
    site = {path.name for path in (tmp_path / "site").iterdir()}
    assert site == {"bin", "edge_se", f"edge_se-{version('edge-se')}.dist-info"}
    listing = subprocess.run(
        [sys.executable, "-m", "edge_se", "--help"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )
    assert "stream" in listing.stdout


@pytest.mark.parametrize(
    ("board", "facts", "sentence"),
    [
        (
            "pi4",
            {"machine": "x86_64"},
            "the bundle is for aarch64, but the board is a x86_64 with 64-bit Python; make one for "
            "it",
        ),
        (
            "pi4",
            {"bits": 32},
            "the bundle is for aarch64, but the board is a aarch64 with 32-bit Python; make one "
            "for it",
        ),
        (
            "pi4",
            {"python": "3.13"},
            "the bundle is for Python 3.11, but the board's is 3.13; make one with --python 3.13",
        ),
        (
            "pi4",
            {"has_venv": False},
            "the board's Python has no venv module; install it: sudo apt install python3-venv",
        ),
        (
            "armv7",
            {"machine": "armv7l", "bits": 32},
            "the board's own numpy has to be of version 1, but is missing; install it: sudo apt "
            "install python3-numpy",
        ),
        (
            "armv7",
            {"machine": "armv7l", "bits": 32, "numpy": "2.1.0"},
            "the board's own numpy has to be of version 1, but is 2.1.0; install it: sudo apt "
            "install python3-numpy",
        ),
    ],
)
def test_a_board_that_does_not_fit_is_told_in_one_sentence(build, board, facts, sentence):
    target = Target(Connection("pi@board"), "~/edge-se", {**BARE_BOARD, **facts})

    with pytest.raises(UserError) as caught:
        plan(target, build(board))

    assert str(caught.value) == f"pi@board: {sentence}"


def test_a_board_without_room_is_told_how_much_it_needs(build):
    target = Target(Connection("pi@board"), "~/edge-se", {**BARE_BOARD, "free_bytes": 5_000_000})

    with pytest.raises(UserError, match=r"has 5 MB free in /home/pi/edge-se, but .* needs \d+ MB"):
        plan(target, build())


def test_what_has_arrived_is_not_sent_again(build):
    bundle = build()
    archive = f"edge-se-{bundle.id}.tar.gz"
    half = bundle.data[: len(bundle.data) // 2]
    arrived = {"bytes": len(half), "sha256": hashlib.sha256(half).hexdigest()}
    target = Target(
        Connection("pi@board"), "~/edge-se", {**BARE_BOARD, "incoming": {archive: arrived}}
    )

    assert plan(target, bundle).arrived == len(half)


def test_what_has_arrived_damaged_is_sent_again(build):
    bundle = build()
    archive = f"edge-se-{bundle.id}.tar.gz"
    arrived = {"bytes": 1000, "sha256": "0" * 64}
    target = Target(
        Connection("pi@board"), "~/edge-se", {**BARE_BOARD, "incoming": {archive: arrived}}
    )

    assert plan(target, bundle).arrived == 0


def test_the_installer_finds_a_damaged_file(build, tmp_path):
    for name, data in contents(build()).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    folder = tmp_path / "edge-se-bundle"
    verify(folder)
    (folder / "model.tflite").write_bytes(b"damaged")

    with pytest.raises(RefusedError, match=r"not whole \(model\.tflite is damaged\)"):
        verify(folder)


def test_the_unit_passes_systemds_check(tool, build, tmp_path):
    verifier = tool("systemd-analyze")
    unit = contents(build())["edge-se-bundle/edge-se.service"].decode()
    path = tmp_path / "edge-se.service"
    path.write_text(unit.replace("@PYTHON@", sys.executable).replace("@RELEASE@", "/home/pi/x"))

    result = subprocess.run(
        [verifier, "--user", "verify", path],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )

    assert result.returncode == 0, result.stderr
    assert "edge-se.service" not in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("board", "tag"), [("pi4", "aarch64"), ("armv7", "armv7l")])
def test_a_bundle_holds_wheels_for_its_board(board, tag):
    bundle = build_bundle(find_board(board), "3.11", MODEL)

    wheels = [name for name in contents(bundle) if name.endswith(".whl")]
    assert all(tag in name or "none-any" in name for name in wheels)
    assert any(tag in name for name in wheels)
    assert replace(bundle, data=b"") == replace(
        build_bundle(find_board(board), "3.11", MODEL), data=b""
    )


def rebuilt(files: dict[str, bytes], sums: bool = True) -> bytes:
    """An archive of other files, with or without checksums that fit."""
    if sums:
        files = {**files, "SHA256SUMS": bundles._checksums(files)}
    return bundles._archive(files)


@pytest.mark.parametrize(
    ("change", "sums", "reason"),
    [
        ({"wheels/more.whl": b"x"}, False, "'wheels/more.whl' is not in the bundle's SHA256SUMS"),
        ({"SHA256SUMS": b""}, False, "SHA256SUMS does not list what a bundle has to hold"),
        ({"install.pyz": None}, False, "install.pyz is missing"),
        ({"install.pyz": b"other"}, False, "install.pyz is damaged"),
        ({"../../escaped": b"x"}, True, "is no name that a bundle holds"),
        ({"bundle.json": b""}, True, "bundle.json is empty"),
        ({"bundle.json": b"[" * 10**5}, True, "bundle.json is damaged"),
        ({"bundle.json": b"{}"}, True, "bundle.json.format_version is missing"),
        ({"model.tflite": b"no model"}, True, "is not a TFLite model"),
    ],
)
def test_a_bundle_of_others_is_verified_before_it_is_used(build, tmp_path, change, sums, reason):
    files = {name.partition("/")[2]: data for name, data in contents(build()).items()}
    changed = {**files, **change}
    path = tmp_path / "b.tar.gz"
    path.write_bytes(
        rebuilt({name: data for name, data in changed.items() if data is not None}, sums)
    )

    with pytest.raises(UserError) as caught:
        read_bundle(path)

    assert reason in str(caught.value)


def test_a_bundle_is_not_built_for_a_name_that_can_not_be_written(edge_se, tmp_path):
    for out in ("b.zip", "absent/b.tar.gz"):
        result = edge_se("bundle", "--board", "pi4", "--out", out)

        assert result.returncode == 2
        assert result.stderr.count("\n") == 1


def test_what_no_board_runs_is_no_bundle(build, tmp_path):
    refused = {
        write_tiny_onnx(tmp_path / "model.onnx"): "can't be bundled: boards run a .tflite or a .so",
        write_tiny(tmp_path / "model.TFLITE"): "can't be bundled: boards run a .tflite or a .so",
        write_separator(tmp_path / "model.tflite"): "run it by edge-se separate",
    }

    for model, complaint in refused.items():
        with pytest.raises(UserError, match=complaint):
            build(model=model)


def test_an_interrupted_deployment_says_what_becomes_of_it(build, monkeypatch):
    def interrupted(*arguments, **options):
        raise Ended(signal.SIGINT)

    told: list[str] = []
    target = Target(Connection("pi@board"), "~/edge-se", BARE_BOARD)
    planned = plan(target, build())
    monkeypatch.setattr(Connection, "installer", interrupted)

    with pytest.raises(Ended):
        deploy(planned, 0.5, False, told.append)

    assert told[-1].startswith("interrupted; what pi@board has begun it ends by itself")
