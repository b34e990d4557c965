"""Learning from a trained network beside the clean speech.

G. Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, https://arxiv.org/abs/1503.02531.
"""

from pathlib import Path

import torch

from edge_se.errors import UserError
from edge_se.signal import Signal
from quant.networks.checkpoint import Checkpoint, load_checkpoint
from quant.training.fast_layers import use_fast_layers
from quant.training.losses import hybrid_loss
from quant.training.spectra import to_samples, to_spectrogram


class Teacher:
    """A trained network, of any architecture and transform here, that a batch is compared with."""

    def __init__(
        self, checkpoint: Checkpoint, weight: float, si_snr_weight: float, device: torch.device
    ) -> None:
        """Teach on a device by a loss of a weight, and of SI-SNR's in it (see `hybrid_loss`)."""
        self._weight, self._si_snr_weight = weight, si_snr_weight
        self._signal = checkpoint.signal
        self._model = checkpoint.model.to(device).requires_grad_(False)
        use_fast_layers(self._model)

    def loss(self, enhanced: torch.Tensor, noisy: torch.Tensor, signal: Signal) -> torch.Tensor:
        """Compare a spectrogram with what the teacher makes of the same samples; a scalar.

        Args:
            enhanced: the student's spectrogram [batch, bins, frames, 2].
            noisy: samples [batch, n] that both hear.
            signal: of the student.
        """
        with torch.no_grad():
            taught = self._model(to_spectrogram(noisy, self._signal))
            samples = to_samples(taught, self._signal, noisy.shape[-1])
            target = to_spectrogram(samples, signal)
        return self._weight * hybrid_loss(enhanced, target, signal, self._si_snr_weight)


def load_teacher(path: Path, sample_rate: int) -> Checkpoint:
    """Load a checkpoint that a network of `sample_rate` Hz can learn from.

    Raises:
        UserError: it is none, a separator, or of another sample rate.
    """
    teacher = load_checkpoint(path)
    if teacher.network.separates:
        raise UserError(
            f"{path} is a {teacher.architecture}, which separates speakers, and a teacher has to "
            "enhance; name another checkpoint"
        )
    rate = teacher.signal.sample_rate
    if rate != sample_rate:
        raise UserError(
            f"the teacher {path} hears {rate} Hz, and the network to train {sample_rate} Hz; name "
            "a checkpoint of that sample rate"
        )
    return teacher
