"""mptcp.py serve ADDRESS: serves one connection over MPTCP: sends as long as it is taken where the first byte is a d,
takes what comes where it is a u. mptcp.py down|up ADDRESS SECONDS: its client."""
import socket
import sys
import time

PORT = 7777


def mptcp():
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
    made.settimeout(20)
    return made


mode, address = sys.argv[1:3]
if mode == "serve":
    with mptcp() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, PORT))
        listener.listen(1)
        print("ready", flush=True)
        peer = listener.accept()[0]
    peer.settimeout(5)
    if peer.recv(1) == b"d":
        try:
            while True:
                peer.sendall(bytes(65536))
        except OSError:
            pass
    else:
        while peer.recv(1 << 20):
            pass
else:
    end = time.monotonic() + float(sys.argv[3])
    with mptcp() as connection:
        connection.connect((address, PORT))
        connection.sendall(mode[:1].encode())
        while time.monotonic() < end:
            if mode == "down":
                connection.recv(1 << 16)
            else:
                connection.sendall(bytes(16384))
