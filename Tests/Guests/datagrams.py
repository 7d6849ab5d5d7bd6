"""Datagrams, and what becomes of them.

datagrams.py send ADDRESS PORT SECONDS BYTES_A_SECOND[/SIZE]... has a socket for each of these flows. It prints how many
datagrams it has sent.

datagrams.py receive ADDRESS PORT SECONDS takes them until there is none for a second. It prints how many came, and then a
line for each flow, without the first two seconds: bytes a second; how long a datagram took at most, and on average, in ms.
Both ends are on one machine, so they have one clock."""

import socket
import struct
import sys
import threading
import time

SO_RCVBUFFORCE = 33  # socket(7); Python has no name for it
OMIT = 2  # seconds: while a queue is made, QEMU may let one of two CPUs stand still for one
HEAD = struct.Struct("Bd")  # the flow, and when it was sent


def send(address, number, rate, size, until, sent):
    """One flow; where the socket has no room, it waits."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(address)
        fill = bytes(size - HEAD.size)
        began = time.monotonic()
        while (now := time.monotonic()) < until:
            due = began + sent[number] * size / rate
            if due > now:
                time.sleep(due - now)
            else:
                sender.send(HEAD.pack(number, now) + fill)
                sent[number] += 1


def receive(receiver, seconds):
    """All flows."""
    sizes, waits, came, began = {}, {}, 0, None
    receiver.settimeout(30)
    try:
        while True:
            data = receiver.recv(65536)
            now = time.monotonic()
            came += 1
            if began is None:
                began = now
                receiver.settimeout(1)
            if OMIT <= now - began < seconds:
                number, sent = HEAD.unpack_from(data)
                sizes.setdefault(number, []).append(len(data))
                waits.setdefault(number, []).append((now - sent) * 1000)
    except TimeoutError:
        pass
    print(came)
    for number, took in sorted(waits.items()):
        print(round(sum(sizes[number]) / (seconds - OMIT)), round(max(took)), round(sum(took) / len(took)))


role, host, port, duration, *flows = sys.argv[1:]
if role == "receive":
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 22)  # it may not be its turn for long
    opened.bind((host, int(port)))
    receive(opened, float(duration))
else:
    counts = [0] * len(flows)
    end_of_all = time.monotonic() + float(duration)
    threads = []
    for index, flow in enumerate(flows):
        bytes_a_second, _, length = flow.partition("/")
        words = ((host, int(port)), index, float(bytes_a_second), int(length or 1200), end_of_all, counts)
        threads.append(threading.Thread(target=send, args=words))
        threads[-1].start()
    for thread in threads:
        thread.join()
    print(sum(counts))
