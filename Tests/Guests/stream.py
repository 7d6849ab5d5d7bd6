"""A stream of zeros through one connection: stream.py serve|connect send|receive ADDRESS PORT tcp|mptcp BYTES.

Who connects prints how many milliseconds that took, and how many bytes the other has sent or received."""

import socket
import sys
import time

role, way, address, port, protocol, size = sys.argv[1:]
opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM, {"tcp": 6, "mptcp": 262}[protocol])
began = time.monotonic()
if role == "serve":
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.bind((address, int(port)))
    opened.listen()
    stream, _ = opened.accept()
else:
    stream = opened
    stream.connect((address, int(port)))
connected = time.monotonic()

moved = int(size)
if way == "send":
    stream.sendall(bytes(moved))
    stream.shutdown(socket.SHUT_WR)
    stream.recv(1)  # until the other has had all of it
else:
    moved = 0
    while part := stream.recv(65536):
        moved += len(part)
if role == "connect":
    print(f"{(connected - began) * 1000:.1f}", moved)
