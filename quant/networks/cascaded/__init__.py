"""The separators of vocals: two networks, their blocks, and their windows as graphs."""
