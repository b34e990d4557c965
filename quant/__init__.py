"""Host pipeline: architectures, training, calibration, quantization and evaluation."""
