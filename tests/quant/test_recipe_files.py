"""A recipe is the same by name, in a file, in Python, and in the manifest of what it made."""

import json
import os
from collections.abc import Mapping
from typing import Any

import pytest
import soundfile

import quant
from edge_se.errors import UserError
from edge_se.manifest import Manifest
from edge_se.model_file import manifest_of, split
from quant.graph.encoding import Precision
from quant.graph.recipes import RECIPES, Override, Recipe, read_recipe
from quant.networks.gtcrn import RECIPES as OWN


@pytest.fixture(scope="module")
def clips(noisy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for index, samples in enumerate(noisy[:4]):
        soundfile.write(folder / f"{index}.wav", samples[:12000], 16000)
    return folder


def as_toml(recipe: Mapping[str, Any]) -> str:
    """A recipe of a manifest as a recipe file: what is null is left out."""
    lines = [f"{n} = {json.dumps(v)}" for n, v in recipe.items() if v is not None and v != []]
    return (
        "\n".join(lines)
        .replace('"pattern": ', "pattern = ")
        .replace('"precision": ', "precision = ")
    )


def quantize(clips, precision, **options) -> bytes:
    return quant.quantize(None, clips, precision, recovery_minutes=0, **options).content


def weights(content: bytes) -> bytes:
    """The file without its manifest."""
    return split(content)[0]


@pytest.mark.parametrize("recipe", [*RECIPES.values(), *OWN], ids=lambda recipe: recipe.name)
def test_a_description_as_toml_is_read_as_the_recipe(recipe, tmp_path):
    (tmp_path / "mine.toml").write_text(as_toml(recipe.describe()))

    assert read_recipe(tmp_path / "mine.toml") == recipe


@pytest.mark.parametrize("name", ["int8", "int8_float_ends", "float"])
def test_a_file_gives_the_same_bytes_as_the_recipe_of_its_content(clips, tmp_path, name):
    named = quantize(clips, name)
    (tmp_path / "mine.toml").write_text(as_toml(manifest_of(named, "it").recipe))

    from_file = quantize(clips, tmp_path / "mine.toml")
    from_python = quantize(clips, read_recipe(tmp_path / "mine.toml"))

    assert named == from_file == from_python


def test_another_name_changes_the_manifest_alone(clips, tmp_path):
    content = RECIPES["int8"].describe() | {"name": "mine"}
    (tmp_path / "other.toml").write_text(as_toml(content))

    named, mine = quantize(clips, "int8"), quantize(clips, tmp_path / "other.toml")

    assert weights(named) == weights(mine)
    assert manifest_of(mine, "it").precision == manifest_of(mine, "it").recipe["name"] == "mine"


def test_the_command_takes_the_file_that_the_documents_show(main, clips, tmp_path):
    (tmp_path / "mine.toml").write_text(
        """
name = "mine"
default = "int8"
level_dbfs = -25.0

[[overrides]]
pattern = '^encoder\\.0\\.'
precision = "float"

[[overrides]]
pattern = '\\.attention\\.'
precision = "int16x8"
"""
    )
    recipe = Recipe(
        "mine",
        Precision.INT8,
        (
            Override(r"^encoder\.0\.", Precision.FLOAT),
            Override(r"\.attention\.", Precision.INT16),
        ),
        level_dbfs=-25.0,
    )

    code, _, errors = main(
        *("quantize", "--calibration-clips", clips, "--precision", "mine.toml"),
        *("--recover", 0, "--out", "mine.tflite"),
    )

    assert code == 0, errors
    content = (tmp_path / "mine.tflite").read_bytes()
    assert content == quantize(clips, recipe)
    assert manifest_of(content, "it").recipe == recipe.describe()


@pytest.mark.slow
def test_what_auto_chose_is_a_recipe_that_gives_the_same_file(tmp_path, noisy):
    """With speech and noise apart, auto calibrates with all clips, as a named recipe does."""
    for kind, indices in (("clean", range(4)), ("noise", range(4, 6))):
        (tmp_path / kind).mkdir()
        for index in indices:
            samples = noisy[index][:12000]
            soundfile.write(tmp_path / kind / f"{index}.wav", samples, 16000)
    chosen = quant.quantize(None, tmp_path, "auto", recovery_minutes=0)
    (tmp_path / "chosen.toml").write_text(as_toml(chosen.manifest.recipe))

    again = quant.quantize(None, tmp_path, tmp_path / "chosen.toml", recovery_minutes=0)

    assert chosen.decision is not None and chosen.manifest.calibration["decision"]
    assert again.recipe == chosen.recipe
    assert weights(again.content) == weights(chosen.content)
    candidates = chosen.manifest.calibration["decision"]["candidates"]
    for candidate in candidates:
        (tmp_path / "candidate.toml").write_text(as_toml(candidate["recipe"]))
        assert read_recipe(tmp_path / "candidate.toml").describe() == candidate["recipe"]
    assert len(candidates) == 2 + len(OWN)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("default = [", "mine.toml is not TOML ("),
        ("", "mine.toml is no recipe: its default is None, not one of float, dynamic, int8, "),
        ('default = "int4"', "mine.toml is no recipe: its default is 'int4', not one of float, "),
        ('default = "int8"\ncolour = 3', "mine.toml is no recipe: it has 'colour', which is none"),
        ('default = "int8"\nranges = "mean"', "mine.toml is no recipe: its ranges are 'mean', "),
        ('default = "int8"\nlevel_dbfs = "loud"', "mine.toml is no recipe: its level_dbfs is "),
        ('default = "int8"\nlevel_dbfs = nan', "mine.toml is no recipe: it holds a number that is"),
        ("default = 0x" + "f" * 5000, "mine.toml is no recipe: it holds a number of more than 64"),
        (
            'default = "int8"\noverrides = [{pattern = "x{99999999999}", precision = "float"}]',
            "mine.toml is no recipe: the pattern 'x{99999999999}' is no regular expression",
        ),
        ('default = "int8"\nlevel_dbfs = 12', "a level is in dB below full scale, from -100 to 0"),
        ('default = "int8"\noverrides = 3', "mine.toml is no recipe: its overrides are no [[ove"),
        (
            'default = "int8"\noverrides = [{pattern = "(", precision = "float"}]',
            "mine.toml is no recipe: the pattern '(' is no regular expression",
        ),
        (
            'default = "int8"\noverrides = [{pattern = "^encoder", precision = "int7"}]',
            "mine.toml is no recipe: the precision of '^encoder' is 'int7', not one of float, ",
        ),
        (
            'default = "int8"\noverrides = [{pattern = "^encodr", precision = "float"}]',
            "the pattern '^encodr' of the recipe mine matches no operator of this gtcrn; their "
            "names begin as in features, features_in_bands, merge, fine, excess, encoder, dpgrnn1",
        ),
    ],
)
def test_a_bad_recipe_is_one_sentence(main, clips, tmp_path, text, complaint):
    (tmp_path / "mine.toml").write_text(text)

    code, output, errors = main(
        *("quantize", "--calibration-clips", clips, "--precision", "mine.toml"),
        *("--out", "mine.tflite"),
    )

    (message,) = errors.splitlines()
    assert code == 2 and not output
    assert message.startswith(f"edge-se: error: {complaint}")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]


@pytest.mark.parametrize(
    ("precision", "complaint"),
    [
        ("nowhere.toml", "cannot read recipe nowhere.toml: No such file or directory"),
        ("int4", "unknown precision 'int4'; choose one of: float, dynamic, int8, int16x8, "),
    ],
)
def test_a_recipe_that_there_is_not_is_one_sentence(clips, precision, complaint):
    with pytest.raises(UserError) as error:
        quantize(clips, precision)

    assert str(error.value).startswith(complaint)


# The Python API -----------------------------------------------------------------------------------


def test_python_gives_the_command_s_bytes(main, clips, tmp_path):
    quantized = quant.quantize(None, clips, "int8_float_ends")
    quantized.save(tmp_path / "api.tflite")

    code, _, errors = main(
        *("quantize", "--calibration-clips", clips, "--precision", "int8_float_ends"),
        *("--out", "command.tflite"),
    )

    assert code == 0, errors
    assert (tmp_path / "api.tflite").read_bytes() == (tmp_path / "command.tflite").read_bytes()
    assert (tmp_path / "api.tflite").read_bytes() == quantized.content
    assert isinstance(quantized.manifest, Manifest)
    assert quantized.manifest.precision == quantized.recipe.name == "int8_float_ends"
    low, high = quantized.ranges["encoder.1.activation"]
    assert low < 0 < high


@pytest.mark.slow
def test_python_writes_the_report(clips, tmp_path):
    quantized = quant.quantize(None, clips, "int8_float_ends")

    quantized.report(tmp_path / "report")

    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["model"]["checkpoint"] == "gtcrn.safetensors"
    assert (tmp_path / "report" / "report.html").read_text().startswith("<!")


@pytest.mark.parametrize(
    ("arguments", "options", "complaint"),
    [
        (("nowhere.tar",), {}, "cannot read checkpoint nowhere.tar: No such file"),
        ((None, "nowhere"), {}, "nowhere is not a folder"),
        ((None, None, "int4"), {}, "unknown precision 'int4'; choose one of: "),
        ((None, None, "int8"), {"board": "pi9"}, "no instructions were counted for the board"),
        ((None, None, "auto"), {"quality_budget": 0}, "the quality budget has to be above 0"),
        ((None, None, "float"), {"ranges": {}}, "ranges are for a precision with calibrated"),
        ((None,), {"architecture": "unet"}, "unknown architecture 'unet'; choose one of: casc"),
        ((None,), {"network_options": {"colour": 1}}, "gtcrn has no option 'colour'; its options"),
    ],
)
def test_what_is_wrong_is_an_exception_of_one_sentence(
    monkeypatch, tmp_path, arguments, options, complaint
):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(UserError) as error:
        quant.quantize(*arguments, **options)

    assert str(error.value).startswith(complaint) and "\n" not in str(error.value)


def test_a_bad_place_is_an_exception_and_nothing_is_written(clips, tmp_path):
    quantized = quant.quantize(None, clips, "float")

    for save, complaint in (
        (lambda: quantized.save(tmp_path / "model.onnx"), "has to end in .tflite"),
        (lambda: quantized.save(tmp_path / "nowhere" / "m.tflite"), "there is no folder"),
        (
            lambda: quantized.report(tmp_path / "report"),
            "a report compares a quantized enhancer",
        ),
    ):
        with pytest.raises(UserError, match=complaint):
            save()
    assert not list(tmp_path.iterdir())


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "recipe.toml")

    with pytest.raises(UserError, match=r"cannot read recipe .*It is a pipe or a device"):
        read_recipe(tmp_path / "recipe.toml")


def test_a_file_of_brackets_is_not_toml(tmp_path):
    (tmp_path / "recipe.toml").write_text("a = " + "[" * 10**5)

    with pytest.raises(UserError, match="is not TOML"):
        read_recipe(tmp_path / "recipe.toml")
