"""Training loss of GTCRN's authors.

Compressed real, imaginary and magnitude spectra and SI-SNR, with the weights of the GTCRN training
template: X. Rong et al., "GTCRN: A Speech Enhancement Model Requiring Ultralow Computational
Resources", ICASSP 2024, https://github.com/Xiaobin-Rong/gtcrn. Spectra are compressed by the power
0.3 after S. Braun and I. Tashev, "Data augmentation and loss normalization for deep noise
suppression", SPECOM 2020; SI-SNR is defined in J. Le Roux et al., "SDR - half-baked or well done?",
ICASSP 2019.
"""

import torch

from edge_se.signal import Signal
from quant.training.spectra import to_samples

COMPRESSION = 0.3
COMPLEX_WEIGHT = 30.0
MAGNITUDE_WEIGHT = 70.0


def hybrid_loss(
    enhanced: torch.Tensor, clean: torch.Tensor, signal: Signal, si_snr_weight: float = 1.0
) -> torch.Tensor:
    """Compare an enhanced spectrogram with the clean one.

    Args:
        enhanced: spectrogram [batch, bins, frames, 2], real and imaginary.
        clean: spectrogram of the same shape.
        signal: whose transform they are of.
        si_snr_weight: weight of the last term, 1 in the template.

    Returns:
        30 (MSE of compressed real + MSE of compressed imaginary) + 70 MSE of compressed magnitude
        - log10 of the scale-invariant signal-to-noise ratio (a tenth of SI-SNR in dB), a scalar.
    """
    enhanced_magnitude = _magnitude(enhanced)
    clean_magnitude = _magnitude(clean)
    # The mean over real and imaginary together is half of the sum of their two means.
    complex_error = 2 * torch.nn.functional.mse_loss(
        enhanced * enhanced_magnitude.pow(COMPRESSION - 1),
        clean * clean_magnitude.pow(COMPRESSION - 1),
    )
    magnitude_error = torch.nn.functional.mse_loss(
        enhanced_magnitude.pow(COMPRESSION), clean_magnitude.pow(COMPRESSION)
    )
    ratio = log_si_snr(to_samples(enhanced, signal), to_samples(clean, signal)).mean()
    return (
        COMPLEX_WEIGHT * complex_error + MAGNITUDE_WEIGHT * magnitude_error - si_snr_weight * ratio
    )


def log_si_snr(enhanced: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """Return log10 of the scale-invariant SNR of samples [batch, n] as [batch]."""
    projection = (clean * enhanced).sum(-1, keepdim=True) * clean
    target = projection / (clean.square().sum(-1, keepdim=True) + 1e-8)
    error = (enhanced - target).square().sum(-1)
    return torch.log10(target.square().sum(-1) / (error + 1e-8) + 1e-8)


def _magnitude(spectrogram: torch.Tensor) -> torch.Tensor:
    return torch.sqrt(spectrogram.square().sum(-1, keepdim=True) + 1e-12)
