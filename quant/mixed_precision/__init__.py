"""The choice of a recipe by what it costs on a board, and what it loses."""
