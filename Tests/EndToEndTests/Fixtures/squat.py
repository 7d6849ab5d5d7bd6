"""squat.py ADDRESS PORT: binds sockets for datagrams and for connections to ADDRESS, which may be another host's, and
has a packet of its own come in at the PORT, so that the run's programs know of it. Then waits for the end of its input."""
import socket
import sys

IP_FREEBIND, IPV6_FREEBIND = 15, 78

address, port = sys.argv[1], int(sys.argv[2])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
level, option = (socket.IPPROTO_IPV6, IPV6_FREEBIND) if family == socket.AF_INET6 else (socket.IPPROTO_IP, IP_FREEBIND)
sockets = []
for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
    squatter = socket.socket(family, kind)
    squatter.setsockopt(level, option, 1)
    squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    squatter.bind((address, port))
    sockets.append(squatter)
sockets[1].listen()
known = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
known.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
known.bind(("127.0.0.1", port))
known.sendto(b"x", ("127.0.0.1", port))
print("ready", flush=True)
sys.stdin.read()
