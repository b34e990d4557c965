import json

import pytest

from edge_se.errors import UserError
from edge_se.manifest import Manifest
from tests.helpers.fixed_signals import BAND_FEATURES, BANDS
from tests.helpers.fixed_signals import manifest as described
from tests.helpers.tiny_model import tiny_flatbuffer


def content() -> dict:
    return json.loads(tiny_flatbuffer("int8")[1].to_json())


def read(changed: dict) -> Manifest:
    return Manifest.from_json(json.dumps(changed), "model.tflite")


def test_a_manifest_survives_json():
    manifest = tiny_flatbuffer("int8")[1]

    assert Manifest.from_json(manifest.to_json(), "model.tflite") == manifest


def test_bands_survive_json():
    manifest = described(BAND_FEATURES, bands=BANDS)

    assert Manifest.from_json(manifest.to_json(), "model.tflite") == manifest


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("bound", 0.75, "the bound 0.75, not a power of two"),
        ("bound", -1.0, "the bound -1.0, not a power of two"),
        ("ratio", 512, "the ratio 512, not a power of two up to 256"),
        ("ratio", None, "ratio None"),
        ("alike", 300, "300 bins alike, of 257"),
        ("first", [65], "not as many weights"),
        ("first", [64, *BANDS.first[1:]], "a band of its reaches from bin 64"),
        ("first", [256, *BANDS.first[1:-1], 257], "a band of its reaches from bin 257"),
        ("weights", [[600000], *BANDS.weights[1:]], "the weights of its band from bin 65"),
        ("weights", [[0.5], *BANDS.weights[1:]], "no integers"),
        ("weights", [3], "no integers"),
    ],
)
def test_wrong_bands_are_told(field, value, complaint):
    content = json.loads(described(BAND_FEATURES, bands=BANDS).to_json())
    content["bands"][field] = value

    with pytest.raises(UserError, match=complaint):
        read(content)


def test_equal_manifests_give_the_same_text():
    manifest = tiny_flatbuffer("float32")[1]

    again = Manifest.from_json(manifest.to_json(), "model.tflite")

    assert again.to_json() == manifest.to_json()


def test_latency_counts_window_and_lookahead():
    manifest = read(content() | {"lookahead_frames": 2})

    assert manifest.latency_samples == 256 + 2 * 256
    assert manifest.algorithmic_latency_ms == 64.0


def test_a_newer_format_asks_for_an_upgrade():
    with pytest.raises(UserError, match=r"model.tflite has manifest format 4, newer .* upgrade"):
        read(content() | {"format_version": 4})


def test_an_older_format_asks_for_the_model_to_be_made_again():
    with pytest.raises(UserError, match=r"manifest format 2, older than the 3 .* make the model"):
        read(content() | {"format_version": 2})


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("stft", "wavelet", "its stft is 'wavelet'"),
        ("signal", 16000, "signal 16000, which is not a dict"),
        ("lookahead_frames", -1, "lookahead_frames is -1"),
        ("lookahead_frames", 10**9, "lookahead_frames is 1000000000"),
        ("states", [3], "a state is 3"),
        ("architecture", None, "architecture None"),
        ("colour", "blue", "unknown field colour"),
        ("format_version", None, "no format_version"),
    ],
)
def test_a_wrong_field_is_named(field, value, complaint):
    with pytest.raises(UserError, match=complaint):
        read(content() | {field: value})


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("window_function", "kaiser", "its window_function is 'kaiser'"),
        ("features", "mel", "its features is 'mel'"),
        ("mask", "phase", "its mask is 'phase'"),
        ("hop", 512, "hop of 512 samples is not between 1 and 511"),
        ("hop", "256", "its hop is '256', not a whole number"),
        ("sample_rate", 0, "sample rate is 0"),
        ("level_dbfs", "loud", "its level_dbfs is 'loud', not a number"),
        ("level_dbfs", True, "its level_dbfs is True, not a number"),
        ("front_end", None, "its front_end is None"),
        ("features", ["log_magnitude"], "its features is \\['log_magnitude'\\]"),
        ("level_dbfs", 1e300, "level_dbfs is 1e\\+300"),
        ("window", 2**40, "window of 1099511627776 samples"),
        ("sample_rate", 2**40, "sample rate is 1099511627776"),
        ("colour", "blue", "signal has the unknown field colour"),
    ],
)
def test_a_wrong_field_of_the_signal_is_named(field, value, complaint):
    changed = content()
    changed["signal"][field] = value

    with pytest.raises(UserError, match=complaint):
        read(changed)


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("dtype", "float64", "dtype 'float64'"),
        ("scale", 0.0, "scale 0.0"),
        ("scale", -0.5, "scale -0.5"),
        ("zero_point", 200, "zero point 200, outside int8"),
        ("zero_point", True, "zero_point True"),
        ("shape", [0, 257], "shape"),
        ("shape", [], "shape"),
        ("input", -1, "input -1"),
        ("input", None, "input None"),
        ("reset_value", "nothing", "reset_value 'nothing'"),
    ],
)
def test_a_wrong_field_of_a_state_is_named(field, value, complaint):
    changed = content()
    changed["states"][0][field] = value

    with pytest.raises(UserError, match=rf"state smoother.cache has .*{complaint}"):
        read(changed)


def test_signals_have_the_shape_that_the_window_asks_for():
    changed = content()
    changed["tensors"]["mask"]["shape"] = [2, 129]

    with pytest.raises(UserError, match=r"mask has the shape \[2, 129\]"):
        read(changed)


def test_other_kinds_of_features_and_masks_have_other_rows():
    changed = content()
    changed["signal"] |= {"features": "log_magnitude", "mask": "real"}

    with pytest.raises(UserError, match=r"features has the shape \[3, 257\], not \(1, 257\)"):
        read(changed)

    for tensor in changed["tensors"].values():
        tensor["shape"] = [1, 257]
    assert read(changed).signal.mask == "real"


def test_only_linear_features_have_bands_in_two_parts():
    changed = content()
    changed["signal"] |= {"features": "log_magnitude"}
    changed["bands"] = {"bound": 1.0, "ratio": 16, "alike": 257, "first": [], "weights": []}

    with pytest.raises(UserError, match="its bands have two parts, but its features are 'log_magn"):
        read(changed)


def test_a_float_tensor_has_no_scale():
    changed = content()
    changed["tensors"]["mask"]["dtype"] = "float32"

    with pytest.raises(UserError, match="mask is float32 but has a scale"):
        read(changed)


def test_state_names_are_unique():
    changed = content()
    changed["states"] *= 2

    with pytest.raises(UserError, match="two states called smoother"):
        read(changed)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", b"\xff\xfe", "[" * 10**6, '{"a":' * 60 + "1" + "}" * 60),
        *('{"quality": {"pesq": NaN}}', '{"quality": {"pesq": 1e999}}', '{"a": "\\ud800"}'),
        *('{"format_version": ' + "9" * 5000 + "}", '{"format_version": 99999999999999999999999}'),
    ],
    ids=lambda text: str(text[:12]),
)
def test_what_is_no_json_object_is_refused(text):
    with pytest.raises(UserError, match="the manifest in model"):
        Manifest.from_json(text, "model.tflite")
