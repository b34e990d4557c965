"""What ships with the package goes by name."""

from pathlib import Path

import pytest

from edge_se import Enhancer
from edge_se.model_file import built_in_models, default_model_path, find_model
from edge_se.options import model_path
from quant.checkpoints import built_in_checkpoints, find_checkpoint
from quant.commands.options import checkpoint_path

NAMES = sorted(built_in_models())


def test_a_model_s_checkpoint_is_built_in_too():
    assert sorted(built_in_checkpoints()) == NAMES
    assert default_model_path() in built_in_models().values()


@pytest.mark.parametrize("name", NAMES)
def test_a_name_means_the_built_in_one_wherever_one_stands(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()  # such as upstream's repository

    assert Enhancer(name).model_path == model_path(name) == built_in_models()[name]
    assert checkpoint_path(name) == find_checkpoint(name) == built_in_checkpoints()[name]
    assert model_path(f"./{name}").resolve() == tmp_path / name
    for given in (f"./{name}", Path(name)):
        assert find_model(given).resolve() == find_checkpoint(given).resolve() == tmp_path / name
