"""What travels to the board: the installer and the service's unit.

`install.py` is sent as it is and imports nothing of this project.
"""
