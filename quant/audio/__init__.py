"""Clips, mixtures of them, and whole clips as the frame loop sees them."""
