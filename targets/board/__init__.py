"""What travels to the board: the installer and the service's unit."""
