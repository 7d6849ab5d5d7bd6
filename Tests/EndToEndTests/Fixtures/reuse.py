"""reuse.py serve: a server that sends without end to who asks with "d", and takes what it gets from who asks with "u".
reuse.py u|d ADDRESS ADDRESS: transfers from one, and then from the other with the same socket. Prints for each the
bytes a second, and, from before the transfer, SO_MAX_PACING_RATE, TCP_MAXSEG and TCP_WINDOW_CLAMP."""

import ctypes
import os
import socket
import struct
import sys
import threading
import time

PORT = 8078
SO_MAX_PACING_RATE = 47
SECONDS = 2


def answer(connection):
    try:
        if connection.recv(1) == b"u":
            while connection.recv(1 << 18):
                pass
        while True:
            connection.sendall(bytes(1 << 18))
    except OSError:
        pass


def serve():
    listening = socket.create_server(("0.0.0.0", PORT))
    print("ready", flush=True)
    while True:
        threading.Thread(target=answer, args=listening.accept()[:1], daemon=True).start()


def transfer(connection, direction):
    connection.sendall(direction)
    began, count = time.monotonic(), 0
    while time.monotonic() < began + SECONDS:
        count += connection.send(bytes(1 << 14)) if direction == b"u" else len(connection.recv(1 << 18))
    return count / SECONDS


def disconnect(connection):
    # Python has no way to say AF_UNSPEC.
    if ctypes.CDLL(None, use_errno=True).connect(connection.fileno(), bytes(16), 16):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def reuse(direction, addresses):
    connection = socket.socket()
    for address in addresses:
        connection.connect((address, PORT))
        pacing = struct.unpack("Q", connection.getsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, 8))[0]
        segment = connection.getsockopt(socket.SOL_TCP, socket.TCP_MAXSEG)
        window = connection.getsockopt(socket.SOL_TCP, socket.TCP_WINDOW_CLAMP)
        print(transfer(connection, direction), pacing, segment, window)
        disconnect(connection)


if sys.argv[1] == "serve":
    serve()
else:
    reuse(sys.argv[1].encode(), sys.argv[2:])
