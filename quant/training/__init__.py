"""Training of the streaming networks on folders of speech and noise."""
