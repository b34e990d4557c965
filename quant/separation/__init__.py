"""Separators on the host: stereo clips, calibration in windows, and how near their masks are."""
