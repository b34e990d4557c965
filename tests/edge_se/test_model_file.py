import hashlib
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_se import Enhancer
from edge_se.errors import UserError
from edge_se.manifest import Manifest
from edge_se.model_file import (
    MANIFEST_NAME,
    attach_manifest,
    attached_weights,
    manifest_of,
    read_manifest,
    read_model,
    split,
    write_model,
)
from tests.helpers.tiny_model import tiny_flatbuffer, write_tiny
from tests.helpers.tiny_onnx import write_tiny_onnx


def test_any_zip_tool_reads_the_manifest(tiny_int8):
    with zipfile.ZipFile(tiny_int8) as archive:
        content = json.loads(archive.read("manifest.json"))

    assert content["architecture"] == "tiny"


def test_the_flatbuffer_stays_as_it_was():
    flatbuffer, manifest = tiny_flatbuffer("int8")

    data = attach_manifest(flatbuffer, manifest)

    body, text = split(data)
    assert body == flatbuffer
    assert text is not None
    found = Manifest.from_json(text, "it")
    assert found == replace(manifest, body_sha256=hashlib.sha256(flatbuffer).hexdigest())


def test_attaching_depends_on_the_arguments_alone():
    flatbuffer, manifest = tiny_flatbuffer("float32")

    assert attach_manifest(flatbuffer, manifest) == attach_manifest(flatbuffer, manifest)


def test_attaching_again_replaces_the_manifest():
    flatbuffer, manifest = tiny_flatbuffer("float32")
    measured = replace(manifest, quality={"pesq": 1.7})
    once = attach_manifest(flatbuffer, manifest)

    again = attach_manifest(once, measured)

    assert again == attach_manifest(flatbuffer, measured)


WEIGHTS = {"fixed": bytes(range(200)), "float": b"PK\5\6" * 40}


def test_weights_lie_beside_the_manifest():
    flatbuffer, manifest = tiny_flatbuffer("float32")

    data = attach_manifest(flatbuffer, manifest, WEIGHTS)

    assert split(data)[0] == flatbuffer
    assert attached_weights(data) == WEIGHTS
    assert attach_manifest(data, manifest) == data
    assert attach_manifest(data, manifest, {}) == attach_manifest(flatbuffer, manifest)
    assert manifest_of(data, "it").weights_sha256 == {
        name: hashlib.sha256(blob).hexdigest() for name, blob in WEIGHTS.items()
    }
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == [MANIFEST_NAME, "weights.float.bin", "weights.fixed.bin"]
        assert archive.read("weights.fixed.bin") == WEIGHTS["fixed"]


@pytest.mark.parametrize("other", [{}, {"float": WEIGHTS["float"]}, WEIGHTS | {"fixed": b"else"}])
def test_weights_that_are_not_the_manifests_are_refused(other):
    flatbuffer, manifest = tiny_flatbuffer("float32")
    text = split(attach_manifest(flatbuffer, manifest, WEIGHTS))[1]
    assert text is not None
    entries = {MANIFEST_NAME: text}
    entries |= {f"weights.{name}.bin": other[name] for name in ("float", "fixed") if name in other}
    buffer = io.BytesIO(flatbuffer)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_STORED) as archive:
        for name, content in entries.items():
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)

    with pytest.raises(UserError, match="does not have the SHA-256"):
        manifest_of(buffer.getvalue(), "it")


def test_a_written_model_is_read_back(tmp_path):
    flatbuffer, manifest = tiny_flatbuffer("int8")
    path = tmp_path / "model.tflite"

    write_model(path, flatbuffer, manifest)

    assert replace(read_manifest(path), body_sha256="") == manifest


def test_writing_leaves_nothing_but_the_model(tmp_path):
    write_model(tmp_path / "model.tflite", *tiny_flatbuffer("int8"))

    assert [path.name for path in tmp_path.iterdir()] == ["model.tflite"]


def test_a_model_without_a_manifest_is_refused(tmp_path):
    path = tmp_path / "bare.tflite"
    path.write_bytes(tiny_flatbuffer("int8")[0])

    with pytest.raises(UserError, match="without an edge-se manifest"):
        read_manifest(path)


def test_what_is_no_tflite_is_refused(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"not a model at all")

    with pytest.raises(UserError, match="is not a TFLite model"):
        read_manifest(path)


def test_a_damaged_manifest_is_refused(tmp_path):
    path = tmp_path / "model.tflite"
    write_model(path, *tiny_flatbuffer("int8"))
    path.write_bytes(path.read_bytes().replace(b'"tiny"', b'"tinx"'))

    with pytest.raises(UserError, match="is damaged"):
        read_manifest(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"there is no model file .*absent\.tflite"):
        read_manifest(tmp_path / "absent.tflite")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match="there is no folder"):
        write_model(tmp_path / "absent" / "model.tflite", *tiny_flatbuffer("int8"))


@pytest.fixture(params=["tflite", "tflite with weights", "onnx"])
def whole(request, tmp_path) -> Path:
    """A small model file of each kind that holds no program."""
    suffix, _, weights = request.param.partition(" ")
    path = tmp_path / f"model.{suffix}"
    if suffix == "onnx":
        return write_tiny_onnx(path)
    write_tiny(path, "int8")
    if weights:
        data, manifest = read_model(path)
        path.write_bytes(attach_manifest(data, manifest, WEIGHTS))
    return path


def test_any_flipped_bit_is_noticed(whole):
    data = whole.read_bytes()
    assert read_model(whole)[0] == data
    random = np.random.default_rng(0)
    # Every byte of what ends the file, a sample of the others.
    places = [*random.integers(0, len(data), 1500), *range(len(data) - 300, len(data))]

    for place in places:
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(random.integers(8))
        whole.write_bytes(damaged)
        with pytest.raises(UserError):
            read_model(whole)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut_off_is_refused(whole, share):
    whole.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])

    with pytest.raises(UserError, match="model"):
        read_model(whole)


def test_a_changed_body_is_named(tmp_path):
    path = write_tiny(tmp_path / "model.tflite", "int8")
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)

    with pytest.raises(UserError, match=r"is damaged \(its content does not have the SHA-256"):
        Enhancer(path)


@pytest.mark.parametrize("flaw", ["deflated", "encrypted", "twice", "commented", "more"])
def test_an_archive_that_was_not_written_here_is_refused(tmp_path, flaw):
    flatbuffer, manifest = tiny_flatbuffer("int8")
    text = split(attach_manifest(flatbuffer, manifest))[1]
    assert text is not None
    buffer = io.BytesIO()
    buffer.write(flatbuffer)
    kind = zipfile.ZIP_DEFLATED if flaw == "deflated" else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        archive.writestr(MANIFEST_NAME, text)
        if flaw == "twice":
            with pytest.warns(UserWarning, match="Duplicate name"):
                archive.writestr(MANIFEST_NAME, text)
        if flaw == "more":
            archive.writestr("other.txt", "x")
        if flaw == "commented":
            archive.comment = b"made by hand"
    data = bytearray(buffer.getvalue())
    if flaw == "encrypted":
        for signature, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
            data[data.rfind(signature) + flags] |= 1
    path = tmp_path / "model.tflite"
    path.write_bytes(data)

    with pytest.raises(UserError, match="is damaged"):
        read_manifest(path)


@pytest.mark.parametrize("length", range(12))
def test_the_beginnings_of_models_are_none(tmp_path, tiny_int8, length):
    path = tmp_path / "model.tflite"
    for content in (b"\x08\x08\x12\x07pytorch\0", tiny_int8.read_bytes(), bytes(12)):
        path.write_bytes(content[:length])

        with pytest.raises(UserError, match=r"is not a TFLite|is damaged|without an edge-se"):
            Enhancer(path)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer"),
        (b"\x7fELF\2\1\1", "a compiled library"),
        (b"\x08\x08\x12\x07pytorch", "an ONNX model"),
        (b"PK\3\4" + bytes(30), "a ZIP archive"),
        (b"RIFF" + bytes(30), "an audio file"),
        (b"\x20" + bytes(7) + b'{"a":{}}' + bytes(40), "a safetensors file"),
    ],
)
def test_what_has_the_wrong_name_is_called_by_its_own(tmp_path, content, name):
    path = tmp_path / "model.tflite"
    path.write_bytes(content)

    with pytest.raises(UserError, match=rf"is not a TFLite model \(it is {name}"):
        Enhancer(path)
