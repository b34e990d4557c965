"""GTCRN-Light: the network, and its one-frame step."""
