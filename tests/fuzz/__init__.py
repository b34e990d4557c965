"""A fuzzer: damaged files and streams for the commands that read them; see CONTRIBUTING.md."""
