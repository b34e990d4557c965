"""A whole board, emulated: deployed to, cut off, powered off, and listened to."""
