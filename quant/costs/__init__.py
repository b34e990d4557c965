"""What a model file costs on a board, in instructions, from a table counted on emulated Arm."""
