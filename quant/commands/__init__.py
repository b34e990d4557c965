"""Commands of the host pipeline."""
