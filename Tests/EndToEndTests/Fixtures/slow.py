"""slow.py asks|takes SOCKET: asks the run of that socket, one byte every 50 ms, or at once and takes the answer, which is
long, 20 kB every 50 ms; again and again, until it is ended. Says "ready" before the first time."""

import socket
import sys
import time

REQUEST = b'{"text":false}'
while True:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(sys.argv[2])
    try:
        if sys.argv[1] == "takes":
            connection.sendall(REQUEST)
            connection.shutdown(socket.SHUT_WR)
        print("ready", flush=True)
        while sys.argv[1] == "asks" or connection.recv(20000):
            if sys.argv[1] == "asks":
                connection.send(b" ")
            time.sleep(0.05)
    except OSError:
        pass
    connection.close()
