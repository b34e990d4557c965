"""Other people's models as they are run, to measure against: the same audio in, enhanced audio out.

Each is recognised by its inputs, runs in one thread and gets as fast a NumPy loop as ours.
"""

import ctypes
import importlib.util
from collections.abc import Mapping
from ctypes.util import find_library
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_se.engines import ENGINES
from edge_se.engines.onnx import create_session
from edge_se.enhancer import Enhancer
from edge_se.errors import UserError
from edge_se.model_file import has_manifest
from edge_se.signal import Signal
from edge_se.stft import Samples, Stft

# Names that stand for what is installed: GTCRN in our C engine, RNNoise, WebRTC's noise suppressor.
BUILT_IN, RNNOISE, WEBRTC = "c", "rnnoise", "webrtc"
DTLN_STAGES = ("model_quant_1.tflite", "model_quant_2.tflite")


class Peer(Protocol):
    """Something that enhances audio one hop at a time.

    Attributes:
        name: For tables.
        size_kb: Of its files.
        hop_size: Samples per frame.
        sample_dtype: Of its samples, float32 or int16.
        sample_rate: In Hz.
    """

    name: str
    size_kb: float
    hop_size: int
    sample_rate: int
    sample_dtype: np.dtype[Any]

    def process(self, frame: NDArray[Any], out: NDArray[Any]) -> object:
        """Take in one hop ([hop_size] of `sample_dtype`) and write one enhanced hop to `out`."""


def load_peer(path: Path) -> Peer:
    """Load what a path names.

    Args:
        path: A model of ours, the authors' streaming ONNX of GTCRN or UL-UNAS, a folder with
            DTLN's stages, RNNoise's shared library (librnnoise*.so), or `RNNOISE` for the installed
            one; `WEBRTC`; or `BUILT_IN` for the built-in GTCRN in our C engine, in float.

    Raises:
        UserError: It is none of these, or its runtime is not installed.
    """
    if str(path) == RNNOISE:
        return Rnnoise(find_rnnoise())
    if str(path) == WEBRTC:
        return WebRtc()
    if str(path) == BUILT_IN:
        return Ours(Enhancer("gtcrn", engine=BUILT_IN))
    if path.name.startswith("librnnoise"):
        return Rnnoise(path)
    if path.is_dir():
        return Dtln(path)
    ours = path.is_file() and has_manifest(path.read_bytes())
    if path.suffix == ENGINES["onnxruntime"] and not ours:
        return StreamingOnnx(path, create_session(path))
    return Ours(Enhancer(path))


def _size_kb(*paths: Path) -> float:
    return round(sum(path.stat().st_size for path in paths) / 1000, 1)


class Ours:
    """A model of this project in its frame loop; see `Peer`."""

    def __init__(self, enhancer: Enhancer) -> None:
        told = enhancer.describe()
        runs = "in C" if told["engine"] == BUILT_IN else f"{told['stft']} STFT"
        kind = f"{told['architecture']}, {told['precision']}, {runs}"
        self.name = f"{Path(told['file']).name} ({kind})"
        self.size_kb = told["size_kb"]
        self.hop_size, self.sample_rate = enhancer.hop_size, enhancer.sample_rate
        self.sample_dtype = enhancer.sample_dtype
        self.process = enhancer.process


class StreamingOnnx:
    """The authors' streaming export of GTCRN or UL-UNAS in onnxruntime; see `Peer`.

    Run as upstream's `stream/gtcrn_stream.py` does: a dictionary of inputs per frame, the caches
    handed from one call to the next.
    """

    hop_size, sample_rate, sample_dtype = 256, 16000, np.dtype(np.float32)
    # By their inputs, caches in the order of outputs: whose export it is, and its window function.
    _KNOWN: Mapping[tuple[str, ...], tuple[str, str]] = {
        ("mix", "conv_cache", "tra_cache", "inter_cache"): ("GTCRN", "square_root_hann"),
        ("mix", "conv_cache", "tfa_cache", "inter_cache"): ("UL-UNAS", "hann"),
    }

    def __init__(self, path: Path, session: Any) -> None:
        """Use a session of `create_session`; raises UserError when it has other inputs."""
        self.size_kb = _size_kb(path)
        shapes = {node.name: node.shape for node in session.get_inputs()}
        if tuple(shapes) not in self._KNOWN:
            raise UserError(
                f"{path} has the inputs {', '.join(shapes)}: neither a model of edge-se nor the "
                f"authors' streaming export of GTCRN or UL-UNAS, so there is no way to run it"
            )
        network, window_function = self._KNOWN[tuple(shapes)]
        self.name = f"{path.name} (the authors' {network}, onnxruntime)"
        self._run = session.run
        self._stft = Stft(
            Signal(self.sample_rate, 2 * self.hop_size, self.hop_size, window_function)
        )
        self._inputs: dict[str, NDArray[np.float32]] = {
            name: np.zeros(shape, np.float32) for name, shape in shapes.items()
        }
        self._mix = self._inputs["mix"][0, :, 0]
        self._caches = [*shapes][1:]

    def process(self, frame: Samples, out: Samples) -> None:
        """Take in one hop (float32 [256]) and write one enhanced hop to `out`."""
        spectrum = self._stft.analyse(frame)
        self._mix[...] = spectrum.view(np.float32).reshape(-1, 2)
        enhanced, *caches = self._run(None, self._inputs)
        self._inputs.update(zip(self._caches, caches, strict=True))
        self._stft.synthesise(enhanced.view(np.complex64).reshape(-1), out)


class Dtln:
    """DTLN, both stages in TFLite; see `Peer`.

    Westhausen and Meyer, "Dual-Signal Transformation LSTM Network for Real-Time Noise Suppression",
    2020; run as upstream's `real_time_processing_tf_lite.py`, with views of the tensors held, the
    mask multiplied onto the spectrum without a detour over its phase, and real FFTs.
    """

    hop_size, sample_rate, sample_dtype = 128, 16000, np.dtype(np.float32)
    _WINDOW = 512

    def __init__(self, folder: Path) -> None:
        """Load both stages; raises UserError when one is missing."""
        self.name = f"{folder.name} (DTLN INT8, TFLite)"
        paths = [folder / name for name in DTLN_STAGES]
        first, second = map(_Stage, paths)
        self.size_kb = _size_kb(*paths)
        self._stages = first, second
        self._magnitude, self._mask = first.input[0, 0], first.output[0, 0]
        self._estimate, self._block = second.input[0, 0], second.output[0, 0]
        self._input, self._output = (np.zeros(self._WINDOW, np.float32) for _ in range(2))
        self._spectrum = np.empty(self._WINDOW // 2 + 1, np.complex64)

    def process(self, frame: Samples, out: Samples) -> None:
        """Take in one hop (float32 [128]) and write one enhanced hop to `out`."""
        first, second = self._stages
        _shift(self._input, self.hop_size)
        self._input[-self.hop_size :] = frame
        self._spectrum[...] = np.fft.rfft(self._input)
        np.abs(self._spectrum, out=self._magnitude)
        first.run()
        np.multiply(self._spectrum, self._mask, out=self._spectrum)
        self._estimate[...] = np.fft.irfft(self._spectrum)
        second.run()
        _shift(self._output, self.hop_size)
        self._output[-self.hop_size :] = 0
        np.add(self._output, self._block, out=self._output)
        out[...] = self._output[: self.hop_size]


def _shift(buffer: Samples, hop: int) -> None:
    buffer[:-hop] = buffer[hop:]


class _Stage:
    """One stage of DTLN: a signal and an LSTM state in, both out."""

    def __init__(self, path: Path) -> None:
        from edge_se.engines.tflite import create_interpreter, find_runtime

        if not path.is_file():
            raise UserError(
                f"there is no {path}; DTLN is a folder with {' and '.join(DTLN_STAGES)}"
            )
        self._interpreter = create_interpreter(find_runtime(), path)
        inputs = _by_rank(self._interpreter.get_input_details())
        outputs = _by_rank(self._interpreter.get_output_details())
        if set(inputs) != {3, 4} or set(outputs) != {3, 4}:
            raise UserError(f"{path} is no stage of DTLN: its inputs or outputs are others")
        self._invoke = self._interpreter._interpreter.Invoke
        self._invoke()
        self.input, self.output = self._view(inputs[3]), self._view(outputs[3])
        self._state, self._next = self._view(inputs[4]), self._view(outputs[4])
        self._state.fill(0)

    def run(self) -> None:
        """Compute one frame and carry the state on."""
        self._invoke()
        self._state[...] = self._next

    def _view(self, tensor: int) -> NDArray[np.float32]:
        view: NDArray[np.float32] = self._interpreter.tensor(tensor)()
        return view


def find_rnnoise() -> Path:
    """The shared library that the package pyrnnoise brings, or the system's.

    Raises:
        UserError: There is neither.
    """
    package = importlib.util.find_spec("pyrnnoise")
    if package is not None and package.origin is not None:
        return Path(package.origin).with_name("librnnoise.so")
    system = find_library("rnnoise")
    if system is None:
        raise UserError(
            "RNNoise's library is not installed; pip install pyrnnoise, or name a librnnoise.so"
        )
    return Path(system)


class Rnnoise:
    """RNNoise in C; see `Peer`.

    Valin, "A Hybrid DSP/Deep Learning Approach to Real-Time Full-Band Speech Enhancement", 2018.
    Runs at 48 kHz, and skips its network in digital silence.
    """

    hop_size, sample_rate, sample_dtype = 480, 48000, np.dtype(np.float32)

    def __init__(self, path: Path) -> None:
        """Load the library, which has its weights inside; raises UserError when it is none."""
        try:
            library = ctypes.PyDLL(str(path))  # keeping the lock costs less, as in our core
            create, process = library.rnnoise_create, library.rnnoise_process_frame
            hop = int(library.rnnoise_get_frame_size())
        except (OSError, AttributeError) as error:
            raise UserError(f"{path} is no RNNoise library ({error})") from None
        if hop != self.hop_size:
            raise UserError(f"{path} has frames of {hop} samples, not of {self.hop_size}")
        self.name = f"{path.name} (RNNoise in C, 48 kHz)"
        self.size_kb = _size_kb(path) if path.is_file() else 0.0
        create.argtypes, create.restype = [ctypes.c_void_p], ctypes.c_void_p
        process.argtypes, process.restype = [ctypes.c_void_p] * 3, ctypes.c_float
        self._library, self._run, self._state = library, process, create(None)
        self._samples = np.zeros(hop, np.float32)
        self._address = self._samples.ctypes.data

    def process(self, frame: Samples, out: Samples) -> None:
        """Take in one hop (float32 [480]) and write one enhanced hop to `out`."""
        np.multiply(frame, 32768, out=self._samples)
        self._run(self._state, self._address, self._address)
        np.multiply(self._samples, 1 / 32768, out=out)


class WebRtc:
    """WebRTC's noise suppressor in C++, by pip's webrtc-noise-gain; see `Peer`.

    Its high-pass filter and its voice detection run too: the package has no way around them.
    """

    hop_size, sample_rate, sample_dtype = 160, 16000, np.dtype(np.int16)
    _SUPPRESSION = 4  # the most there is

    def __init__(self) -> None:
        """Start it without gain; raises UserError when it is not installed."""
        try:
            from webrtc_noise_gain import webrtc_noise_gain_cpp as library
        except ImportError:
            raise UserError(
                "WebRTC's noise suppressor is not installed; pip install webrtc-noise-gain"
            ) from None
        self.name = "webrtc (noise suppression in C++)"
        self.size_kb = _size_kb(Path(library.__file__))
        self._run = library.AudioProcessor(0, self._SUPPRESSION).Process10ms

    def process(self, frame: NDArray[np.int16], out: NDArray[np.int16]) -> None:
        """Take in one hop (int16 [160]) and write one enhanced hop to `out`."""
        out[...] = np.frombuffer(self._run(frame.tobytes()).audio, np.int16)


def _by_rank(details: list[Mapping[str, Any]]) -> dict[int, int]:
    """Tensor index by rank: signals have three axes, states four."""
    return {len(detail["shape"]): int(detail["index"]) for detail in details}
