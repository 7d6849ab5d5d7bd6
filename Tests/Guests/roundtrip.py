"""Round trips, by TCP and UDP: roundtrip.py serve ADDRESS PORT | measure ADDRESS PORT COUNT | within PORT COUNT |
datagrams ADDRESS PORT COUNT.

Who measures prints milliseconds, the least, the median and the most of each: of connecting, of an echo by TCP, and of one by
UDP; and how many of the latter never came. `within` has both ends in one process; `datagrams` only counts what never comes."""

import socket
import sys
import threading
import time


def echo(server):
    while True:
        data, peer = server.recvfrom(65536)
        server.sendto(data, peer)


def answer(stream):
    while data := stream.recv(65536):
        stream.sendall(data)


def serve(address):
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(address)
    threading.Thread(target=echo, args=[datagrams], daemon=True).start()
    streams = socket.create_server(address, backlog=100)
    while True:
        stream, _ = streams.accept()
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=answer, args=[stream], daemon=True).start()


def times(count, once):
    took = []
    for _ in range(count):
        began = time.monotonic()
        if once():
            took.append((time.monotonic() - began) * 1000)
    took.sort()
    return took or [-1]


def tell(took):
    return f"{took[0]:.1f} {took[len(took) // 2]:.1f} {took[-1]:.1f}"


def measure(address, count):
    def connect():
        socket.create_connection(address, timeout=30).close()
        return True

    def by_stream():
        stream.sendall(b"x")
        return stream.recv(1)

    def by_datagram():
        datagrams.send(b"x")
        try:
            return datagrams.recv(1)
        except TimeoutError:
            return b""

    connects = times(max(3, count // 10), connect)
    stream = socket.create_connection(address, timeout=30)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.connect(address)
    datagrams.settimeout(5)
    print(tell(connects), tell(times(count, by_stream)), end=" ")
    echoes = times(count, by_datagram)
    print(tell(echoes), count - len(echoes))


def send_slowly(datagrams, count):
    for _ in range(count):
        datagrams.send(b"x")
        time.sleep(0.002)


def count_missing(address, count):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.connect(address)
        threading.Thread(target=send_slowly, args=[datagrams, count], daemon=True).start()
        datagrams.settimeout(1)
        try:
            while datagrams.recv(1):
                count -= 1
        except TimeoutError:
            print(count)


role, *words = sys.argv[1:]
if role == "serve":
    serve((words[0], int(words[1])))
elif role == "datagrams":
    count_missing((words[0], int(words[1])), int(words[2]))
elif role == "measure":
    measure((words[0], int(words[1])), int(words[2]))
else:
    threading.Thread(target=serve, args=[("127.0.0.1", int(words[0]))], daemon=True).start()
    time.sleep(0.5)
    measure(("127.0.0.1", int(words[0])), int(words[1]))
