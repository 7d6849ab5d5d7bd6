"""udp_send.py HOST PORT RATE SECONDS: sends datagrams of 1000 bytes at RATE bytes per second and prints how
many calls failed, and with which errors."""
import socket
import sys
import time

host, port, rate, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
family = socket.AF_INET6 if ":" in host else socket.AF_INET
sender = socket.socket(family, socket.SOCK_DGRAM)
sender.connect((host, port))
began = time.monotonic()
sent = 0
errors = []
while (now := time.monotonic() - began) < seconds:
    if sent * 1000 > rate * now:
        time.sleep(0.001)
        continue
    try:
        sender.send(b"x" * 1000)
    except OSError as error:
        errors.append(error.errno)
    sent += 1
print(sent, len(errors), sorted(set(errors)))
