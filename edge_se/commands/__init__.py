"""Commands of the device runtime."""
