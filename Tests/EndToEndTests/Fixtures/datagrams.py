"""datagrams.py receive PORT: takes numbered datagrams, after the first one until there is none for a second, and prints
what came of them as JSON.

datagrams.py send HOST PORT SECONDS SIZE [OPTION...]: sends as many as it can and prints how that went. Options:
"nonblocking", "bytes=N" for so many in all, "tos=N", "priority=N", "mark=N", "buffer=N" for its send buffer,
"extensions" for IPv6's, "errors" to be told of all that were dropped, "rate=N" bytes a second."""
import errno
import json
import select
import socket
import struct
import sys
import time

IPV6_DSTOPTS, IPV6_HOPOPTS = 59, 54


def receive(port):
    receiver = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, 33, 8_000_000)  # SO_RCVBUFFORCE
    receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
    receiver.setsockopt(socket.IPPROTO_IP, 13, 1)  # IP_RECVTOS
    receiver.bind(("::", port))
    print("ready", flush=True)
    receiver.settimeout(30)
    numbers, tos, size, began, last = [], set(), 0, None, 0
    try:
        while True:
            data, ancillary, _, _ = receiver.recvmsg(70000, 64)
            last = time.monotonic()
            began = began or last
            receiver.settimeout(1)
            numbers.append(struct.unpack_from("=I", data)[0])
            size += len(data)
            tos.update(value[0] for _, _, value in ancillary)
    except TimeoutError:
        pass
    ordered = numbers == sorted(numbers)
    print(json.dumps({"packets": len(set(numbers)), "bytes": size, "tos": sorted(tos), "is_ordered": ordered,
                      "seconds": last - began if began else 0}))


def send(host, port, seconds, size, *options):
    values = {name: int(value or 1) for name, _, value in (option.partition("=") for option in options)}
    is_ipv6 = ":" in host
    sender = socket.socket(socket.AF_INET6 if is_ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
    sender.setblocking("nonblocking" not in values)
    if "tos" in values:  # First: it sets the priority, too.
        level = (socket.IPPROTO_IPV6, socket.IPV6_TCLASS) if is_ipv6 else (socket.IPPROTO_IP, socket.IP_TOS)
        sender.setsockopt(*level, values["tos"])
    for name, number in (("priority", socket.SO_PRIORITY), ("mark", socket.SO_MARK), ("buffer", socket.SO_SNDBUF)):
        if name in values:
            sender.setsockopt(socket.SOL_SOCKET, number, values[name])
    if "errors" in values:
        sender.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR
    if "extensions" in values:
        for option in (IPV6_HOPOPTS, IPV6_DSTOPTS):
            sender.setsockopt(socket.IPPROTO_IPV6, option, bytes([0, 0, 1, 4, 0, 0, 0, 0]))
    sender.connect((host, port))
    began = time.monotonic()
    sent, refused, longest, errors = 0, 0, 0.0, {}
    while (now := time.monotonic()) - began < seconds and sent * size < values.get("bytes", 1 << 60):
        if sent * size > values.get("rate", 1 << 60) * (now - began):
            time.sleep(0.001)
            continue
        try:
            sender.send(struct.pack("=I", sent) + bytes(size - 4))
            sent += 1
        except BlockingIOError:
            refused += 1
            if not select.select([], [sender], [], 5)[1]:
                errors["poll"] = 1
                break
        except OSError as error:
            name = errno.errorcode[error.errno]
            errors[name] = errors.get(name, 0) + 1
        longest = max(longest, time.monotonic() - now)
    buffer = sender.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    print(json.dumps({"packets": sent, "bytes": sent * size, "refused": refused, "longest": longest, "errors": errors,
                      "seconds": time.monotonic() - began, "buffer": buffer}), flush=True)
    return sender


if sys.argv[1] == "receive":
    receive(int(sys.argv[2]))
else:
    send(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]), *sys.argv[6:])
