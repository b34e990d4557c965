"""A slow network between ssh and a board, as its ProxyCommand: `slow_link.py PORT BYTES_PER_S`."""

import os
import socket
import sys
import threading
import time

BLOCK_S = 0.05


def main(port: int, bytes_s: int) -> None:
    """Pass on what ssh sends at that speed, and what the board answers at once."""
    with socket.create_connection(("127.0.0.1", port)) as board:
        threading.Thread(target=_answer, args=(board,), daemon=True).start()
        while data := os.read(0, round(bytes_s * BLOCK_S)):
            board.sendall(data)
            time.sleep(len(data) / bytes_s)


def _answer(board: socket.socket) -> None:
    while data := board.recv(1 << 16):
        os.write(1, data)
    os._exit(0)  # ssh has no more to send either


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
