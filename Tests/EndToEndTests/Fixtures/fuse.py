"""Mounts a FUSE file system that never answers on the path given, for everybody (allow_other); says "ready"."""

import ctypes
import os
import sys
import time

os.makedirs(sys.argv[1], mode=0o700, exist_ok=True)
os.chown(sys.argv[1], 65534, 65534)
device = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={device},rootmode=40000,user_id=65534,group_id=65534,allow_other"
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b"hostile", sys.argv[1].encode(), b"fuse", 0, options.encode()) != 0:
    sys.exit(os.strerror(ctypes.get_errno()))
print("ready", flush=True)
time.sleep(100)
