"""Models for neural processing units."""
