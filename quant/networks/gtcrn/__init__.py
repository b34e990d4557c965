"""GTCRN: the network, and its one-frame step."""
