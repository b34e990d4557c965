"""C sources of engines, and what runs them: checks, and an emulated microcontroller."""
