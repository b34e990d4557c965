import json
import zipfile
from dataclasses import replace

import pytest

from edge_se.errors import UserError
from edge_se.model_file import attach_manifest, read_manifest, split, write_model
from tests.helpers.tiny_model import tiny_flatbuffer


def test_any_zip_tool_reads_the_manifest(tiny_int8):
    with zipfile.ZipFile(tiny_int8) as archive:
        content = json.loads(archive.read("manifest.json"))

    assert content["architecture"] == "tiny"


def test_the_flatbuffer_stays_as_it_was():
    flatbuffer, manifest = tiny_flatbuffer("int8")

    data = attach_manifest(flatbuffer, manifest)

    assert split(data) == (flatbuffer, manifest.to_json().encode())


def test_attaching_depends_on_the_arguments_alone():
    flatbuffer, manifest = tiny_flatbuffer("float32")

    assert attach_manifest(flatbuffer, manifest) == attach_manifest(flatbuffer, manifest)


def test_attaching_again_replaces_the_manifest():
    flatbuffer, manifest = tiny_flatbuffer("float32")
    measured = replace(manifest, quality={"pesq": 1.7})
    once = attach_manifest(flatbuffer, manifest)

    again = attach_manifest(once, measured)

    assert again == attach_manifest(flatbuffer, measured)


def test_a_written_model_is_read_back(tmp_path):
    flatbuffer, manifest = tiny_flatbuffer("int8")
    path = tmp_path / "model.tflite"

    write_model(path, flatbuffer, manifest)

    assert read_manifest(path) == manifest


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
