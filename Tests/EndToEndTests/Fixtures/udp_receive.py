"""udp_receive.py PORT: takes datagrams, after the first one until there is none for a second, then prints how
many bytes came, and in how many seconds."""
import socket
import sys
import time

receiver = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
receiver.bind(("::", int(sys.argv[1])))
print("ready", flush=True)
receiver.settimeout(30)
total = 0
began = last = None
try:
    while True:
        size = len(receiver.recv(65536))
        last = time.monotonic()
        began = began or last
        receiver.settimeout(1)
        total += size
except TimeoutError:
    print(total, last - began if began else 0)
