"""Boards emulated on a PC: the real wheels under user-mode emulation, instructions counted."""
