"""Commands that bring a model onto boards."""
