"""What ships with the package goes by name."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from edge_se import Enhancer
from edge_se.model_file import (
    DEFAULT,
    built_in_models,
    default_model_path,
    find_model,
    read_manifest,
)
from edge_se.options import model_path
from quant.checkpoints import built_in_checkpoints, default_checkpoint_path, find_checkpoint
from quant.commands.options import checkpoint_path

NAMES = sorted(built_in_models())


def test_a_model_s_checkpoint_is_built_in_too():
    assert sorted(built_in_checkpoints()) == NAMES
    assert default_model_path() in built_in_models().values()
    assert default_checkpoint_path() in built_in_checkpoints().values()


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_of_its_checkpoint(name):
    digest = hashlib.sha256(built_in_checkpoints()[name].read_bytes()).hexdigest()

    assert read_manifest(built_in_models()[name]).checkpoint["sha256"] == digest


@pytest.mark.parametrize("command", ["enhance", "stream", "benchmark", "deploy", "bundle"])
def test_a_command_s_help_names_the_model_that_it_takes_by_itself(command):
    typed = [sys.executable, "-m", "edge_se", command, "--help"]

    printed = subprocess.run(typed, capture_output=True, text=True, check=True).stdout

    assert f"(default: {DEFAULT})" in " ".join(printed.split())


@pytest.mark.parametrize("name", NAMES)
def test_a_name_means_the_built_in_one_wherever_one_stands(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()  # such as upstream's repository

    assert Enhancer(name).model_path == model_path(name) == built_in_models()[name]
    assert checkpoint_path(name) == find_checkpoint(name) == built_in_checkpoints()[name]
    assert model_path(f"./{name}").resolve() == tmp_path / name
    for given in (f"./{name}", Path(name)):
        assert find_model(given).resolve() == find_checkpoint(given).resolve() == tmp_path / name
