"""What a model hears and how: sample rate, transform, features, mask and level, in one object.

A network's record holds it, the model file's manifest carries it, and every loop is made from it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


def square_root_hann(window: int) -> NDArray[np.float64]:
    """Periodic square-root Hann window, float64 [window]."""
    return np.sin(np.pi * np.arange(window) / window)


def hann(window: int) -> NDArray[np.float64]:
    """Periodic Hann window, float64 [window]."""
    return square_root_hann(window) ** 2


def hamming(window: int) -> NDArray[np.float64]:
    """Periodic Hamming window, float64 [window]."""
    return 0.08 + 0.92 * hann(window)


WINDOW_FUNCTIONS: Mapping[str, Callable[[int], NDArray[np.float64]]] = {
    "square_root_hann": square_root_hann,
    "hann": hann,
    "hamming": hamming,
}
# What this runtime knows how to do, by field; anything else needs a newer one. Of a frame, kinds
# with the rows of bins that they have; a separator's has none.
FEATURE_ROWS: Mapping[str, int] = {"magnitude_real_imaginary": 3, "log_magnitude": 1}
MASK_ROWS: Mapping[str, int] = {"complex": 2, "real": 1}
FEATURES = (*FEATURE_ROWS, "stereo_magnitude")
MASKS = (*MASK_ROWS, "stereo_magnitude")
FRONT_ENDS = ("attenuate", "follow")
KINDS: Mapping[str, tuple[str, ...]] = {
    "window_function": tuple(WINDOW_FUNCTIONS),
    "features": FEATURES,
    "mask": MASKS,
    "front_end": FRONT_ENDS,
}
# No model comes near these; beyond them a loop would only ask for memory.
LARGEST_RATE, LARGEST_WINDOW, LARGEST_LEVEL_DBFS = 10**6, 2**16, 200
# The least magnitude that has a logarithm of its own.
LEAST_MAGNITUDE = 1e-12


@dataclass(frozen=True)
class Signal:
    """What a model hears, and what its mask is of.

    Attributes:
        sample_rate: In Hz.
        window: STFT window in samples, an even number; the `win_length` of other libraries.
        hop: Samples per frame, fewer than the window's; of a separator half of them at most.
        window_function: Of the analysis, a name of `WINDOW_FUNCTIONS`; synthesis has its dual.
        features: Kind of features: rows of magnitude, real and imaginary part; the magnitude's
            logarithm to the base 10; of a separator, both channels' magnitudes, the recording's
            largest being 1.
        mask: Kind of mask: rows of real and imaginary part; real gains; of a separator, a gain in
            [0, 1] for both channels' accompaniment.
        level_dbfs: Level that the front end brings input nearer to before the network hears it (see
            `edge_se.level`); None where there is no front end.
        front_end: What it does, a name of `FRONT_ENDS`: attenuates loud input alone, or follows it
            both ways, takes DC off, and starts the network anew after knocks.
        n_fft: Points of the Fourier transform, an even number: the window stands in their middle,
            zeros beside it. None where it fills them.
    """

    sample_rate: int
    window: int
    hop: int
    window_function: str = "square_root_hann"
    features: str = "magnitude_real_imaginary"
    mask: str = "complex"
    level_dbfs: float | None = None
    front_end: str = "attenuate"
    n_fft: int | None = None

    def fault(self) -> str | None:
        """Why no loop can run it, such as "its hop of 600 samples is not between 1 and 511".

        None where one can.
        """
        for name, known in KINDS.items():
            if (value := getattr(self, name)) not in known:
                names = " or ".join(map(repr, known))
                return f"its {name} is {value!r}, and this edge-se knows only {names}"
        numbers = {"sample_rate": self.sample_rate, "window": self.window, "hop": self.hop}
        for name, value in (numbers | {"n_fft": self.points}).items():
            if type(value) is not int:
                return f"its {name} is {value!r}, not a whole number"
        if self.level_dbfs is not None and type(self.level_dbfs) not in (int, float):
            return f"its level_dbfs is {self.level_dbfs!r}, not a number"
        separates = self.features == "stereo_magnitude"
        window, longest = self.window, self.window // 2 if separates else self.window - 1
        most = window if separates else LARGEST_WINDOW
        if not 0 < self.sample_rate <= LARGEST_RATE:
            return f"its sample rate is {self.sample_rate}"
        if window not in range(2, LARGEST_WINDOW + 1, 2):
            return f"its window of {window} samples is not an even number up to {LARGEST_WINDOW}"
        if self.points not in range(window, most + 1, 2):
            return f"its n_fft of {self.points} is not an even number from {window} to {most}"
        if not 0 < self.hop <= longest:
            return f"its hop of {self.hop} samples is not between 1 and {longest}"
        if self.level_dbfs is not None and not abs(self.level_dbfs) <= LARGEST_LEVEL_DBFS:
            return f"its level_dbfs is {self.level_dbfs}"
        return None

    @property
    def points(self) -> int:
        """Points of the Fourier transform."""
        return self.window if self.n_fft is None else self.n_fft

    @property
    def bins(self) -> int:
        """Number of frequency bins, `points / 2 + 1`."""
        return self.points // 2 + 1

    @property
    def windowed(self) -> slice:
        """Where the window stands among the points."""
        first = (self.points - self.window) // 2
        return slice(first, first + self.window)

    @property
    def hop_seconds(self) -> float:
        """Length of a hop."""
        return self.hop / self.sample_rate

    @property
    def is_logarithmic(self) -> bool:
        """Whether features are logarithms of magnitudes."""
        return self.features == "log_magnitude"

    @property
    def transform_dtype(self) -> np.dtype[Any]:
        """In what the STFT is computed.

        A logarithm shows in weak bins what rounding leaves of strong ones.
        """
        return np.dtype(np.float64 if self.is_logarithmic else np.float32)

    def analysis_window(self) -> NDArray[np.float64]:
        """Float64 [window]."""
        return WINDOW_FUNCTIONS[self.window_function](self.window)

    def overlap(self) -> NDArray[np.float64]:
        """What the squared windows of all frames add up to at each sample of one, [window]."""
        squared, total = self.analysis_window() ** 2, np.zeros(self.window)
        for shift in range(-(self.window // self.hop) * self.hop, self.window, self.hop):
            first, last = max(shift, 0), min(self.window + shift, self.window)
            total[first:last] += squared[first - shift : last - shift]
        return total

    def synthesis_window(self) -> NDArray[np.float64]:
        """The dual of the analysis window for this hop, float64 [window].

        Frames that were analysed and synthesised with both add up to the samples they were of.
        """
        return self.analysis_window() / self.overlap()
