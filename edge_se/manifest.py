"""The manifest of a model file: what the model takes, gives and carries from frame to frame.

It travels as JSON inside the model file (see `model_file`), so that nothing is matched by position
or by a tensor's name.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_se import strict_json
from edge_se.errors import UserError
from edge_se.quantized import limits
from edge_se.signal import FEATURE_ROWS, MASK_ROWS, Signal
from edge_se.strength import FULL, Strength

FORMAT_VERSION = 3

# What this runtime knows how to do; anything else needs a newer one.
STFTS = ("float", "fixed")
DTYPES = ("float32", "int8", "int16")
# Of the weights of bins in a band: each is a whole number of 2**-15, together they stay below 16.
BAND_WEIGHT_BITS, LARGEST_BAND_WEIGHT = 15, 16
LARGEST_BOUND, LARGEST_EXCESS_RATIO = 256, 256
# No model comes near these; beyond them a loop would only ask for memory.
LARGEST_LOOKAHEAD, LARGEST_SIZE = 1000, 2**24

T = TypeVar("T")


class _InvalidError(Exception):
    """A manifest field is wrong; `Manifest.from_json` adds whose manifest it is."""


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise _InvalidError(message)


def _check_quantization(what: str, dtype: str, scale: float, zero_point: int) -> None:
    _check(dtype in DTYPES, f"{what} has the dtype {dtype!r}, not one of {', '.join(DTYPES)}")
    if dtype == "float32":
        _check(scale == 0 and zero_point == 0, f"{what} is float32 but has a scale or zero point")
        return
    _check(math.isfinite(scale) and scale > 0, f"{what} has the scale {scale}, not a positive one")
    low, high = limits(dtype)
    _check(low <= zero_point <= high, f"{what} has the zero point {zero_point}, outside {dtype}")


def _check_shape(what: str, shape: tuple[int, ...]) -> None:
    positive = all(type(size) is int and size > 0 for size in shape)
    _check(bool(shape) and positive, f"{what} has the shape {list(shape)}, not positive integers")
    _check(math.prod(shape) <= LARGEST_SIZE, f"{what} has the shape {list(shape)}, too large")


@dataclass(frozen=True)
class TensorSpec:
    """A signal's tensor: features into the step, or the mask out of it.

    `tensor` is a tensor index in a .tflite, a tensor name in an .onnx; float tensors have scale 0.
    """

    tensor: int | str
    shape: tuple[int, ...]
    dtype: str = "float32"
    scale: float = 0.0
    zero_point: int = 0


@dataclass(frozen=True)
class StateSpec:
    """One state: a tensor that the step takes in and gives out again, changed, for the next frame.

    Input and output share dtype, scale and zero point, so that raw values pass between frames.
    `reset_value` is a real value.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int
    reset_value: float
    input: int | str
    output: int | str


@dataclass(frozen=True)
class Tensors:
    """Tensors that the step takes and gives: features [rows, bins] (or [6, bands]) in, mask out.

    The mask is [rows, bins]. Of a separator: features [1, frames, bins, 2] in, mask
    [1, frames - 2 * offset, bins, 2] out.
    """

    features: TensorSpec
    mask: TensorSpec


@dataclass(frozen=True)
class BandMerging:
    """How features of bins become those of bands, in two parts, before they are quantized.

    A bin counts in the first part of its bands as far as `bound` either way, and in the second with
    what exceeds that, divided by `ratio`: 8 bits hold small values finely in the one, large ones
    coarsely in the other, by one scale.

    Attributes:
        bound: A power of two.
        ratio: A power of two.
        alike: How many of the lowest bins are bands of their own.
        first: Of each further band, its first bin.
        weights: Of each further band, those of its bins, in steps of 2**-15.
    """

    bound: float
    ratio: int
    alike: int
    first: tuple[int, ...]
    weights: tuple[tuple[int, ...], ...]

    @property
    def count(self) -> int:
        """Number of bands."""
        return self.alike + len(self.first)

    def matrix(self, bins: int) -> NDArray[np.float32]:
        """Float32 [bins - alike, count - alike]: bins that are no bands of their own, to bands."""
        matrix = np.zeros((bins - self.alike, len(self.first)), np.float32)
        for band, (first, weights) in enumerate(zip(self.first, self.weights, strict=True)):
            start = first - self.alike
            matrix[start : start + len(weights), band] = np.ldexp(weights, -BAND_WEIGHT_BITS)
        return matrix


@dataclass(frozen=True)
class Chunk:
    """What a separator takes at once, instead of one frame.

    Attributes:
        frames: Frames in.
        offset: Frames on either side for which it gives no mask: they see too little around them.
    """

    frames: int
    offset: int

    @property
    def kept(self) -> int:
        """Frames out."""
        return self.frames - 2 * self.offset


@dataclass(frozen=True)
class Manifest:
    """Everything the runtime has to know about a model.

    Attributes:
        architecture: Name of the network.
        precision: What it was quantized to: "float", "dynamic", "int8", "int16x8".
        signal: What it hears: sample rate, transform, features, mask and level.
        stft: Arithmetic of the STFT, "float" or "fixed".
        bands: How features are merged to bands, in two parts: six rows then instead of three, of
            which the first three are the first part. None for features of bins.
        lookahead_frames: Frames by which the mask lags the features.
        tensors: Tensors of features and mask.
        states: States, in the order of the step's inputs.
        chunk: What a separator takes at once; None for a model that runs frame by frame.
        checkpoint: Name and SHA-256 of the weights it was made from.
        recipe: Precision per scope, as it was applied.
        calibration: Clips and ranges used.
        quality: What was measured.
        tools: Versions of what made it.
        strength: How much is taken away where nothing else is asked for.
        body_sha256: Of the model file without what is behind its body; `attach_manifest` fills it
            in.
        weights_sha256: Of weights for the C engine that lie beside the manifest, by arithmetic;
            `attach_manifest` fills them in.
    """

    architecture: str
    precision: str
    signal: Signal
    tensors: Tensors
    states: tuple[StateSpec, ...]
    stft: str = "float"
    bands: BandMerging | None = None
    lookahead_frames: int = 0
    chunk: Chunk | None = None
    checkpoint: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    calibration: Mapping[str, Any] = field(default_factory=dict)
    quality: Mapping[str, Any] = field(default_factory=dict)
    tools: Mapping[str, Any] = field(default_factory=dict)
    strength: Strength = FULL
    body_sha256: str = ""
    weights_sha256: Mapping[str, str] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    @property
    def latency_samples(self) -> int:
        """How far output samples lag input samples."""
        return self.signal.window + (self.lookahead_frames - 1) * self.signal.hop

    @property
    def algorithmic_latency_ms(self) -> float:
        """Latency including the hop that must be collected before a frame can be computed."""
        return 1000 * (self.latency_samples + self.signal.hop) / self.signal.sample_rate

    def to_json(self) -> str:
        """The manifest as JSON, the same text for equal manifests."""
        content = asdict(self)
        if self.signal.n_fft is None:  # runtimes from before there was one read such files
            del content["signal"]["n_fft"]
        content = {"format_version": content.pop("format_version"), **content}
        return json.dumps(content, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

    @staticmethod
    def from_json(text: str | bytes, source: str) -> "Manifest":
        """Read and validate a manifest.

        Args:
            text: JSON.
            source: What to call the file in errors.

        Raises:
            UserError: It is not JSON, has another format version or a wrong field.
        """
        try:
            content = strict_json.parse(text)
            _check(isinstance(content, dict), "it is not a JSON object")
            version = content.get("format_version")
            _check(type(version) is int, "it has no format_version")
            if version != FORMAT_VERSION:
                newer = version > FORMAT_VERSION
                raise UserError(
                    f"{source} has manifest format {version}, {'newer' if newer else 'older'} than "
                    f"the {FORMAT_VERSION} that this edge-se knows; "
                    f"{'upgrade edge-se' if newer else 'make the model again'}"
                )
            return _manifest(content)
        except _InvalidError as error:
            raise UserError(
                f"the manifest in {source} is wrong: {error}; make the model again"
            ) from None
        except ValueError as error:
            raise UserError(
                f"the manifest in {source} can't be read as JSON ({error}); make the model again"
            ) from None


def _manifest(content: Mapping[str, Any]) -> Manifest:
    names = {f.name for f in fields(Manifest)}
    unknown = sorted(set(content) - names)
    _check(not unknown, f"it has the unknown field {', '.join(unknown)}")
    stft, known = content.get("stft"), " or ".join(map(repr, STFTS))
    _check(stft in STFTS, f"its stft is {stft!r}, and this edge-se knows only {known}")
    tensors = _get(content, "tensors", dict, "it")
    manifest = Manifest(
        format_version=content["format_version"],
        architecture=_get(content, "architecture", str, "it"),
        precision=_get(content, "precision", str, "it"),
        signal=_signal(_get(content, "signal", dict, "it")),
        stft=content["stft"],
        bands=_bands(content.get("bands")),
        lookahead_frames=_get(content, "lookahead_frames", int, "it"),
        tensors=Tensors(_tensor(tensors, "features"), _tensor(tensors, "mask")),
        states=tuple(_state(state) for state in _get(content, "states", list, "it")),
        chunk=_chunk(content.get("chunk")),
        checkpoint=_get(content, "checkpoint", dict, "it"),
        recipe=_get(content, "recipe", dict, "it"),
        calibration=_get(content, "calibration", dict, "it"),
        quality=_get(content, "quality", dict, "it"),
        tools=_get(content, "tools", dict, "it"),
        strength=_strength(content.get("strength")),
        body_sha256=_get(content, "body_sha256", str, "it"),
        weights_sha256=_get(content, "weights_sha256", dict, "it"),
    )
    _check_consistent(manifest)
    return manifest


def _signal(content: Mapping[str, Any]) -> Signal:
    unknown = sorted(set(content) - {f.name for f in fields(Signal)})
    _check(not unknown, f"its signal has the unknown field {', '.join(unknown)}")
    for name in ("sample_rate", "window", "hop", "window_function", "features", "mask"):
        _check(name in content, f"its signal has no {name}")
    signal = Signal(**content)
    if fault := signal.fault():
        raise _InvalidError(fault)
    return signal


def _check_consistent(manifest: Manifest) -> None:
    lookahead = manifest.lookahead_frames
    _check(
        0 <= lookahead <= LARGEST_LOOKAHEAD,
        f"its lookahead_frames is {lookahead}, not between 0 and {LARGEST_LOOKAHEAD}",
    )
    signal = manifest.signal
    separates = signal.features == "stereo_magnitude"
    _check(
        separates == (manifest.chunk is not None) == (signal.mask == "stereo_magnitude"),
        f"its features are {signal.features!r} and its mask {signal.mask!r}, but its chunk is "
        f"{manifest.chunk}",
    )
    bins, chunk, bands = signal.bins, manifest.chunk, manifest.bands
    shapes: dict[str, tuple[int, ...]] = {
        "features": (FEATURE_ROWS.get(signal.features, 0), bins),
        "mask": (MASK_ROWS.get(signal.mask, 0), bins),
    }
    if bands is not None:
        _check(
            signal.features == "magnitude_real_imaginary",
            f"its bands have two parts, but its features are {signal.features!r}",
        )
        _check(manifest.tensors.features.dtype != "float32", "its bands have two parts, but floats")
        _check_bands(bands, bins)
        shapes["features"] = (6, bands.count)
    if chunk is not None:
        _check(not manifest.states, "it has a chunk and states")
        _check(chunk.offset >= 0 and chunk.kept > 0, f"its chunk is {chunk}, which keeps no frame")
        shapes = {"features": (1, chunk.frames, bins, 2), "mask": (1, chunk.kept, bins, 2)}
    for what, expected in shapes.items():
        shape = getattr(manifest.tensors, what).shape
        _check(shape == expected, f"{what} has the shape {list(shape)}, not {expected}")
    states = [state.name for state in manifest.states]
    repeated = sorted({name for name in states if states.count(name) > 1})
    _check(not repeated, f"it has two states called {', '.join(repeated)}")


def _check_bands(bands: BandMerging, bins: int) -> None:
    for what, value, smallest, largest in (
        ("bound", bands.bound, 1 / LARGEST_BOUND, LARGEST_BOUND),
        ("ratio", bands.ratio, 1, LARGEST_EXCESS_RATIO),
    ):
        _check(
            smallest <= value <= largest and math.frexp(value)[0] == 0.5,
            f"its bands have the {what} {value}, not a power of two up to {largest}",
        )
    _check(0 <= bands.alike <= bins, f"its bands have {bands.alike} bins alike, of {bins}")
    _check(len(bands.first) == len(bands.weights), "its bands have not as many weights as bins")
    for first, weights in zip(bands.first, bands.weights, strict=True):
        _check(
            bands.alike <= first and 0 < len(weights) <= bins - first,
            f"a band of its reaches from bin {first} to {first + len(weights)}, of {bins}",
        )
        _check(
            sum(map(abs, weights)) < LARGEST_BAND_WEIGHT << BAND_WEIGHT_BITS,
            f"the weights of its band from bin {first} on are too large",
        )


def _chunk(content: Any) -> Chunk | None:
    if content is None:
        return None
    _check(isinstance(content, dict), f"its chunk is {content!r}, not an object")
    return Chunk(_get(content, "frames", int, "chunk"), _get(content, "offset", int, "chunk"))


def _strength(content: Any) -> Strength:
    if content is None:  # as of files from before there was one
        return FULL
    _check(isinstance(content, dict), f"its strength is {content!r}, not an object")
    unknown = sorted(set(content) - {f.name for f in fields(Strength)})
    _check(not unknown, f"its strength has the unknown field {', '.join(unknown)}")
    limit = content.get("max_attenuation_db")
    try:
        return Strength(
            None if limit is None else _get(content, "max_attenuation_db", float, "its strength"),
            _get(content, "mix", float, "its strength"),
        )
    except ValueError as error:
        raise _InvalidError(f"its strength's {error}") from None


def _bands(content: Any) -> BandMerging | None:
    if content is None:
        return None
    _check(isinstance(content, dict), f"its bands are {content!r}, not an object")
    first, weights = (_get(content, name, list, "bands") for name in ("first", "weights"))
    lists = [first, *weights] if all(isinstance(row, list) for row in weights) else [[None]]
    _check(
        all(type(number) is int for row in lists for number in row),
        "its bands have bins or weights that are no integers",
    )
    return BandMerging(
        bound=_get(content, "bound", float, "bands"),
        ratio=_get(content, "ratio", int, "bands"),
        alike=_get(content, "alike", int, "bands"),
        first=tuple(first),
        weights=tuple(map(tuple, weights)),
    )


def _get(mapping: Mapping[str, Any], key: str, kind: type[T], what: str) -> T:
    _check(key in mapping, f"{what} has no {key}")
    value = mapping[key]
    if kind is float and type(value) is int:
        value = float(value)
    # bool is an int to isinstance; a true zero point is a mistake.
    right = isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)
    _check(right, f"{what} has {key} {value!r}, which is not a {kind.__name__}")
    return value


def _tensor_reference(mapping: Mapping[str, Any], key: str, what: str) -> int | str:
    value = _get(mapping, key, object, what)
    valid = isinstance(value, str) or (type(value) is int and value >= 0)
    _check(valid, f"{what} has {key} {value!r}, neither a tensor's index nor its name")
    return value  # type: ignore[return-value]


def _tensor(tensors: Mapping[str, Any], name: str) -> TensorSpec:
    content = _get(tensors, name, dict, "tensors")
    spec = TensorSpec(
        tensor=_tensor_reference(content, "tensor", name),
        shape=tuple(_get(content, "shape", list, name)),
        dtype=_get(content, "dtype", str, name),
        scale=_get(content, "scale", float, name),
        zero_point=_get(content, "zero_point", int, name),
    )
    _check_shape(name, spec.shape)
    _check_quantization(name, spec.dtype, spec.scale, spec.zero_point)
    return spec


def _state(content: Any) -> StateSpec:
    _check(isinstance(content, dict), f"a state is {content!r}, not an object")
    what = f"state {_get(content, 'name', str, 'a state')}"
    spec = StateSpec(
        name=content["name"],
        shape=tuple(_get(content, "shape", list, what)),
        dtype=_get(content, "dtype", str, what),
        scale=_get(content, "scale", float, what),
        zero_point=_get(content, "zero_point", int, what),
        reset_value=_get(content, "reset_value", float, what),
        input=_tensor_reference(content, "input", what),
        output=_tensor_reference(content, "output", what),
    )
    _check_shape(what, spec.shape)
    _check_quantization(what, spec.dtype, spec.scale, spec.zero_point)
    _check(math.isfinite(spec.reset_value), f"{what} has the reset value {spec.reset_value}")
    return spec


def require_frames(manifest: Manifest, path: object) -> None:
    """Raise UserError unless the model of the file `path` runs frame by frame."""
    if manifest.chunk is not None:
        raise UserError(
            f"{path} separates vocals from music in windows of {manifest.chunk.frames} frames; "
            "run it by edge-se separate"
        )


def require_chunk(manifest: Manifest, path: object) -> Chunk:
    """The chunk of a separator; raise UserError where the model of `path` is none."""
    if manifest.chunk is None:
        raise UserError(
            f"{path} enhances speech frame by frame ({manifest.architecture}); run it by edge-se "
            "enhance, or name a separator"
        )
    return manifest.chunk
