"""The networks that the pipeline knows: a folder each, and one registry."""
