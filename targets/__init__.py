"""Boards: what they are, and how a model gets onto them."""
