"""Post-training quantization: calibration, equalization, ranges, bias correction, the pipeline."""
