"""What a user may put where their runs are recorded. The argument is a list of records in JSON: each with its
"file", what to "change" of it, what to "answer" (as changes of a report, or as text), "how", and "times"; then
says "ready" and goes on until it is ended."""

import fcntl
import json
import os
import resource
import socket
import sys
import threading
import time

RECORD = {
    "schema": 1, "id": "1", "name": "wget", "command": ["wget", "x"], "pid": 1, "cgroup": "/x",
    "network_namespace": 1, "started": int(time.time()),
}
DIRECTION = {
    "achieved_bytes_per_second": 1, "verdict": "unlimited", "averaged_seconds": 1, "program_calls": 1, "passed_packets": 1,
    "passed_payload_bytes": 1, "passed_wire_bytes": 1, "dropped_packets": 0, "dropped_payload_bytes": 0,
    "dropped_packet_share": 0, "exempt_packets": 0, "exempt_bytes": 0,
}
REPORT = {
    "schema": 1, "name": "x", "command": ["x"], "elapsed_seconds": 1, "mode": "auto", "planes": ["police"],
    "count": "payload", "burst_seconds": 1, "not_throttled": False, "left_behind": 0, "linger": "keep", "warnings": [],
    "download": DIRECTION, "upload": DIRECTION,
}
KEPT = []


def converse(connection, how, text):
    if how == "silent":
        return time.sleep(100)
    connection.recv(2000)
    if how == "slow":
        for byte in text:
            connection.send(bytes([byte]))
            time.sleep(1.5)
    while how == "endless":
        connection.send(b" " * 65536)
    connection.sendall(text)
    connection.close()


def serve(listener, how, text):
    while True:
        connection = listener.accept()[0]
        KEPT.append(connection)
        threading.Thread(target=lambda: converse(connection, how, text), daemon=True).start()


def listen(name, how, text):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(name)
    KEPT.append(listener)
    if how == "full":
        listener.listen(0)
        other = socket.socket(socket.AF_UNIX)
        other.connect(name)
        KEPT.append(other)
    else:
        listener.listen(64)
        threading.Thread(target=serve, args=(listener, how, text), daemon=True).start()


def put(entry, file):
    with open(file, "x") as record:
        record.write(json.dumps(RECORD | {"id": file} | entry.get("change", {})))
    lock = os.open(file, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    KEPT.append(lock)
    answer = entry.get("answer", {})
    text = answer if isinstance(answer, str) else json.dumps(REPORT | answer)
    how = entry.get("how", "answer")
    if how != "none":
        listen(file + ".socket", how, text.encode())


os.umask(0o077)
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
os.makedirs("/run/user/65534/throttle", exist_ok=True)
os.chdir("/run/user/65534/throttle")
for entry in json.loads(sys.argv[1]):
    for number in range(entry.get("times", 1)):
        put(entry, entry["file"] + (str(number) if number else ""))
print("ready", flush=True)
time.sleep(100)
