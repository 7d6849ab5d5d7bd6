"""Joins the group of the run whose socket is given, as any process of its user may, and spoils all that it gets."""

import mmap
import os
import socket
import sys

connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
connection.send(b'{"join":{}}')
connection.shutdown(socket.SHUT_WR)
_, descriptors, _, _ = socket.recv_fds(connection, 100, 16)
budget, table = descriptors
try:
    os.ftruncate(table, 0)
    print("cut")
except PermissionError:
    print("not cut")
for descriptor in descriptors:
    size = 4096 if descriptor == budget else os.fstat(table).st_size
    memory = mmap.mmap(descriptor, size)
    memory[:] = b"\xff" * size
