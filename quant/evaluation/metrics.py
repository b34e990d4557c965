"""Speech quality metrics for one clip: samples [n] at 16 kHz, enhanced first, clean second.

A metric that is not defined for a clip raises `MetricError`; it never returns a stand-in value.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_se.engines.onnx import load_onnxruntime
from edge_se.errors import UserError

Samples = NDArray[np.floating]

SAMPLE_RATE = 16_000  # that these metrics are defined at
# SI-SNR and SNR stay within these: beyond it lies the rounding of float32.
SNR_LIMIT_DB = 100.0


class MetricError(ValueError):
    """The metric has no value for this clip; the message says why."""


@dataclass(frozen=True)
class Metric:
    """A metric by its name in results, its heading in tables, and how to print it."""

    name: str
    heading: str
    decimals: int


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("pesq", "PESQ-WB", 3),
        Metric("stoi", "STOI", 4),
        Metric("si_snr_db", "SI-SNR dB", 2),
        Metric("dnsmos_sig", "DNSMOS SIG", 2),
        Metric("dnsmos_bak", "DNSMOS BAK", 2),
        Metric("dnsmos_ovr", "DNSMOS OVR", 2),
    )
}


def at_metrics_rate(rate: int, *signals: Samples) -> list[Samples]:
    """Signals of so many Hz at 16 kHz; the same arrays where they have that rate."""
    if rate == SAMPLE_RATE:
        return list(signals)
    import soxr

    return [soxr.resample(samples, rate, SAMPLE_RATE) for samples in signals]


def pesq_wb(enhanced: Samples, clean: Samples) -> float:
    """Wide-band PESQ as MOS-LQO, 1.04 to 4.64 (ITU-T P.862.2, through the package `pesq`).

    Raises:
        MetricError: PESQ finds no utterance in one of the two, or they are too short.
    """
    from pesq import PesqError, pesq

    _require_comparable(enhanced, clean)
    # The package divides by the peak and does not look for silence.
    for samples, name in ((enhanced, "the output"), (clean, "the clean clip")):
        if not samples.any():
            raise MetricError(f"PESQ: {name} is silent")
    try:
        score = float(pesq(SAMPLE_RATE, clean, enhanced, "wb"))
    except PesqError as error:
        reason = error.args[0] if error.args else type(error).__name__
        text = reason.decode() if isinstance(reason, bytes) else str(reason)
        raise MetricError(f"PESQ: {text.rstrip('!. ')}") from error
    if not np.isfinite(score):
        raise MetricError("PESQ: the result is not a number")
    return score


def stoi(enhanced: Samples, clean: Samples) -> float:
    """Short-time objective intelligibility, at most 1 (Taal et al., 2011, through `pystoi`).

    Raises:
        MetricError: Fewer than 30 frames of 25.6 ms are left once silence is removed.
    """
    import pystoi

    _require_comparable(enhanced, clean)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(pystoi.stoi(clean, enhanced, SAMPLE_RATE, extended=False))
        except RuntimeWarning as error:
            raise MetricError("STOI: too little speech in the clean clip") from error


def si_snr(enhanced: Samples, clean: Samples) -> float:
    """Scale-invariant signal-to-noise ratio in dB, within ±100 (Le Roux et al., ICASSP 2019).

    Means are removed first, as is usual for speech.

    Raises:
        MetricError: The clean clip is silent.
    """
    _require_comparable(enhanced, clean)
    target = np.asarray(clean, dtype=np.float64) - np.mean(clean, dtype=np.float64)
    output = np.asarray(enhanced, dtype=np.float64) - np.mean(enhanced, dtype=np.float64)
    energy = target @ target
    if energy == 0:
        raise MetricError("SI-SNR: the clean clip is silent")
    projected = (output @ target) / energy * target
    return _ratio_db(projected, output - projected)


def snr(output: Samples, reference: Samples) -> float:
    """Signal-to-noise ratio in dB, within ±100, of `output` against what it should have been.

    Raises:
        MetricError: The reference is silent.
    """
    _require_comparable(output, reference)
    expected = np.asarray(reference, dtype=np.float64)
    if not expected.any():
        raise MetricError("SNR: the reference is silent")
    return _ratio_db(expected, np.asarray(output, dtype=np.float64) - expected)


class Dnsmos:
    """DNSMOS P.835: what listeners would say of speech, background and both, 1 to 5.

    Reddy et al., "DNSMOS P.835: a non-intrusive perceptual objective speech quality metric to
    evaluate noise suppressors", ICASSP 2022. Windows, repetition and the mapping from the network's
    output to the scale are those of `DNSMOS/dnsmos_local.py` in Microsoft's DNS-Challenge (not the
    personalized ones).
    """

    WINDOW = 144_160  # 9.01 s
    HOP = SAMPLE_RATE
    # Coefficients from the constant up.
    MAPPING = (
        ("dnsmos_sig", (0.0052439, 1.22083953, -0.08397278)),
        ("dnsmos_bak", (-0.39604546, 1.60915514, -0.13166888)),
        ("dnsmos_ovr", (0.04602535, 1.11546468, -0.06766283)),
    )

    def __init__(self, model: Path) -> None:
        """Load the network.

        Args:
            model: Microsoft's `sig_bak_ovr.onnx`.

        Raises:
            UserError: It is missing or not that network.
        """
        onnxruntime = load_onnxruntime()
        if not model.is_file():
            raise UserError(f"there is no DNSMOS model {model}; give the path of sig_bak_ovr.onnx")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
            shapes = [node.shape[1:] for node in self._interface()]
        except Exception as error:  # onnxruntime has no common base for its load errors
            raise UserError(
                f"{model} can't be loaded as the DNSMOS model sig_bak_ovr.onnx"
            ) from error
        if shapes != [[self.WINDOW], [3]]:
            raise UserError(f"{model} is not the DNSMOS P.835 model; give sig_bak_ovr.onnx")

    def __call__(self, samples: Samples) -> dict[str, float]:
        """Scores of samples [n], the means over windows of 9.01 s every second.

        Shorter clips are doubled until they fill a window.

        Raises:
            MetricError: There are no samples.
        """
        if len(samples) == 0:
            raise MetricError("DNSMOS: the clip is empty")
        audio = np.asarray(samples, dtype=np.float32)
        while len(audio) < self.WINDOW:
            audio = np.concatenate((audio, audio))
        windows = max(1, len(audio) // self.HOP - 9)
        batch = np.stack([audio[n * self.HOP :][: self.WINDOW] for n in range(windows)])
        (name,) = (node.name for node in self._session.get_inputs())
        raw = self._session.run(None, {name: batch})[0].astype(np.float64)
        return {
            metric: float(np.polynomial.polynomial.polyval(raw[:, column], coefficients).mean())
            for column, (metric, coefficients) in enumerate(self.MAPPING)
        }

    def _interface(self) -> list:
        return [*self._session.get_inputs(), *self._session.get_outputs()]


@cache
def load_dnsmos(model: Path) -> Dnsmos:
    """The DNSMOS estimator of a file, loaded once per process."""
    return Dnsmos(model)


WITH_CLEAN: dict[str, Callable[[Samples, Samples], float]] = {
    "pesq": pesq_wb,
    "stoi": stoi,
    "si_snr_db": si_snr,
}


def _ratio_db(signal: Samples, noise: Samples) -> float:
    signal_energy, noise_energy = float(signal @ signal), float(noise @ noise)
    if signal_energy == 0:
        return -SNR_LIMIT_DB
    least = signal_energy * 10 ** (-SNR_LIMIT_DB / 10)
    return float(max(10 * np.log10(signal_energy / max(noise_energy, least)), -SNR_LIMIT_DB))


def _require_comparable(output: Samples, reference: Samples) -> None:
    if output.ndim != 1 or output.shape != reference.shape:
        raise ValueError(f"samples must be [n] and alike, got {output.shape} and {reference.shape}")
    if not (np.isfinite(output).all() and np.isfinite(reference).all()):
        raise MetricError("samples that are not finite")
