"""sockets.py serve: a server for one download of the other kind.
sockets.py COUNT SECONDS: opens COUNT connections to it, leaves them idle, and downloads through one more. Prints COUNT
and the bytes that came a second."""

import resource
import select
import socket
import sys
import time

PORT = 8079
resource.setrlimit(resource.RLIMIT_NOFILE, 2 * resource.getrlimit(resource.RLIMIT_NOFILE)[1:])


def serve():
    listening = socket.create_server(("127.0.0.1", PORT), backlog=4096)
    print("ready", flush=True)
    waiting = select.epoll()
    waiting.register(listening, select.EPOLLIN)
    connections = {}
    while True:
        for number, _ in waiting.poll():
            if number == listening.fileno():
                connection, _ = listening.accept()
                connections[connection.fileno()] = connection
                waiting.register(connection, select.EPOLLIN)
            elif connections[number].recv(1):
                try:
                    while True:
                        connections[number].sendall(bytes(1 << 16))
                except OSError:
                    return
            else:
                waiting.unregister(number)
                connections.pop(number).close()


def download(count, seconds):
    idle = [socket.create_connection(("127.0.0.1", PORT)) for _ in range(count)]
    last = socket.create_connection(("127.0.0.1", PORT))
    last.send(b"x")
    last.recv(1 << 16)
    began, received = time.monotonic(), 0
    while time.monotonic() < began + seconds:
        received += len(last.recv(1 << 16))
    print(len(idle), received / (time.monotonic() - began))


if sys.argv[1] == "serve":
    serve()
else:
    download(int(sys.argv[1]), float(sys.argv[2]))
