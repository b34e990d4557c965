"""Layers for a CPU, and the C that they call."""
