"""What training does faster on a GPU."""
