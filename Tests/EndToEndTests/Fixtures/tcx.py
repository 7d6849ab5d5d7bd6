"""tcx.py list: prints each device of this network namespace with the ids of the programs that tcx runs there for
incoming packets. tcx.py attach DEVICE PIN: adds the pinned program to those of DEVICE, as long as the device is
there. bpftool knows nothing of tcx before 7.3."""
import ctypes
import os
import socket
import struct
import sys

CALL = {"x86_64": 321}.get(os.uname().machine, 280)  # bpf(2): that of asm-generic/unistd.h but for x86's own
PROG_ATTACH, OBJ_GET, PROG_QUERY = 8, 7, 16
TCX_INGRESS = 46


def bpf(command, attributes):
    """What the call returns, and what it left of the attributes."""
    buffer = ctypes.create_string_buffer(attributes, 128)
    result = libc.syscall(CALL, command, buffer, 128)
    if result < 0:
        sys.exit(f"bpf({command}): errno {ctypes.get_errno()}")
    return result, buffer.raw


libc = ctypes.CDLL(None, use_errno=True)
if sys.argv[1] == "list":
    for index, name in socket.if_nameindex():
        ids = (ctypes.c_uint32 * 64)()
        query = struct.pack("=IIIIQI", index, TCX_INGRESS, 0, 0, ctypes.addressof(ids), 64)
        count = struct.unpack_from("=I", bpf(PROG_QUERY, query)[1], 24)[0]
        print(name, list(ids[:count]))
else:
    path = ctypes.create_string_buffer(sys.argv[3].encode())
    program = bpf(OBJ_GET, struct.pack("=Q", ctypes.addressof(path)))[0]
    bpf(PROG_ATTACH, struct.pack("=III", socket.if_nametoindex(sys.argv[2]), program, TCX_INGRESS))
