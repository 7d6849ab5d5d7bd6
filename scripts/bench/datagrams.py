"""Uploads over UDP, which pacing doesn't reach: what arrives of them, what is lost, how late it is, how long senders
wait, and what TCP gets beside them."""

import contextlib
import shlex
import subprocess
import sys

from costs import IPERF_2
from limiters import applied
from links import quiet_server
from meters import at, busy, figures, protocol_counts
from processes import Missing, run, started
from transfers import (
    IPERF,
    RATES,
    dropped,
    duration,
    intervals,
    iperf,
    iperf_server,
    link_result,
    link_samples,
    report_of,
)

# Of how many datagrams a second the delay is looked at, at most.
LOOKS = 5000
FLOOD_SIZE = 1200
# Threads that send all that they can, as iperf3 does it, but wait in sendto(): iperf3 itself waits in select(), which
# ends when half of the buffer is free.
BLOCKING_SCRIPT = """
import socket, struct, sys, threading, time
address, port, size, seconds, flows = sys.argv[1], *map(int, sys.argv[2:])
end, found = time.monotonic() + seconds, []
def send():
    sending, count, longest, errors = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0, 0, 0
    while (began := time.monotonic()) < end:
        count += 1
        header = struct.pack('>III', int(began), int(began % 1 * 1e6), count)
        try:
            sending.sendto(header.ljust(size, b'x'), (address, port))
        except OSError:
            errors += 1
        longest = max(longest, time.monotonic() - began)
    found.append((count, longest, errors))
threads = [threading.Thread(target=send) for _ in range(flows)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(sum(count for count, _, _ in found), max(longest for _, longest, _ in found), sum(part[2] for part in found))
"""


@contextlib.contextmanager
def delays(network, a_second):
    """Yields what tells, once, how long datagrams took from the sender's call to the receiver's device."""
    every = 1 << max(0, int(a_second / LOOKS)).bit_length()
    words = network.there(network.shared.delays, network.device, str(IPERF), str(every))
    with started(words, stdout=subprocess.PIPE) as process:
        if process.stdout.readline() != "ready\n":
            raise Missing("delays.c didn't start")

        def told():
            process.terminate()
            figures_of = process.stdout.read().split()[1:]
            names = ("delay median ms", "delay 99 % ms", "delay max ms")
            return dict(zip(names, map(float, figures_of)))

        yield told


def buffer_drops(network, cell):
    """Datagrams that came, but for which the receiving socket had no room."""
    return int(protocol_counts(network, network.receiver(cell.direction), "Udp")["RcvbufErrors"])


def arrived(network, cell):
    counts = protocol_counts(network, network.receiver(cell.direction), "Udp")
    return sum(int(counts[name]) for name in ("InDatagrams", "NoPorts", "RcvbufErrors"))


def losses(report, in_buffer):
    """Of those that iperf3's receiver missed: on the way, and in its own buffer."""
    found = report["end"].get("sum", {})
    if not found.get("packets"):
        raise Missing("nothing came")
    lost, packets = found["lost_packets"], found["packets"]
    # What the buffer drops after the last that is read, iperf3 doesn't miss.
    in_buffer = min(in_buffer, max(0, lost))
    return {"lost ‰": 1000 * (lost - in_buffer) / packets, "lost in buffer ‰": 1000 * in_buffer / packets}


def datagrams(options, network, cell):
    """`iperf3 -u` at so many times the limit ("0": all that goes), with datagrams of so many bytes."""
    if cell.control.startswith("block"):
        return blocking(options, network, cell, int(cell.control[5:]))
    limit, flows = RATES[cell.rate], int(cell.flows)
    multiple, size = map(int, cell.control.split("x"))
    words = ("-u", "-b", str(multiple * limit * 8 // flows), "-l", str(size), "-P", cell.flows)
    before = buffer_drops(network, cell)
    with (
        applied(cell.limiter, options.binary, network, cell.direction, limit) as wrapper,
        delays(network, (multiple or 5) * limit / size) as delays_of,
        link_samples(network, cell, network.headers - 24) as samples,
    ):
        done, client, remote = iperf(options, network, cell, wrapper, *words)
        late = delays_of()
    error = client.get("error") or remote.get("error")
    if not remote["intervals"]:
        raise Missing(f"iperf3: {error}")
    result = {"sent": sent(client, limit), "received": received(remote, limit)}
    result |= figures(intervals(remote), limit, cell.path)
    result |= losses(remote, buffer_drops(network, cell) - before) | late | dropped(done, cell.direction)
    if error:
        result["error"] = error
    return result | link_result(samples, limit, duration(options, cell), False)


def sent(client, limit):
    found = client["end"].get("sum_sent")
    return found["bytes"] / found["seconds"] / limit if found else None


def received(remote, limit):
    """From the first datagram to the last, so with what was unused when they began."""
    parts = intervals(remote)
    return sum(count for _, _, count in parts) / sum(seconds for _, seconds, _ in parts) / limit


def blocking(options, network, cell, size):
    """Senders that wait in sendto(), as long as that takes."""
    limit, seconds = RATES[cell.rate], duration(options, cell)
    words = [network.address, IPERF, size, seconds, cell.flows]
    with (
        applied(cell.limiter, options.binary, network, cell.direction, limit) as wrapper,
        delays(network, limit / size) as delays_of,
    ):
        began = busy()
        done = run(network.here(*wrapper, sys.executable, "-c", BLOCKING_SCRIPT, *map(str, words)), seconds + 30)
        spent = busy() - began
        late = delays_of()
    if done.status != 0:
        raise Missing(f"sender: {done.errors.strip()[-200:]}")
    count, longest, errors = map(float, done.output.split())
    result = {"sent": count * size / seconds / limit, "longest wait ms": longest * 1000, "refused": int(errors)}
    if cell.is_alone:
        result["cpu µs/packet"] = spent / count * 1e6
    return result | late | dropped(done, cell.direction)


def flood(options, network, cell):
    """TCP beside datagrams at so many times (cell.control) the limit, which begin a second before it and outlast it."""
    limit, seconds = RATES[cell.rate], duration(options, cell)
    before = buffer_drops(network, cell)
    counted = {"datagrams": lambda: arrived(network, cell)}
    with (
        applied(cell.limiter, options.binary, network, cell.direction, limit) as wrapper,
        iperf_server(network) as came,
        quiet_server(network, IPERF_2, "iperf3", "-s", "-1", "-p", str(IPERF_2)),
        link_samples(network, cell, **counted) as samples,
    ):
        script = flood_script(network, cell, limit, seconds)
        done = run(network.here(*wrapper, "sh", "-c", script), seconds + 40)
        client, remote = (report_of(text, done.errors) for text in (done.output, came()))
    result = shares(network, samples, limit, seconds)
    result["TCP retransmits"] = client["end"].get("sum_sent", {}).get("retransmits")
    result |= losses(remote, buffer_drops(network, cell) - before) | dropped(done, cell.direction)
    errors = [report["error"] for report in (client, remote) if "error" in report]
    return result | ({"error": errors[0]} if errors else {})


def flood_script(network, cell, limit, seconds):
    client = ["iperf3", "-c", network.address, "-J", "-t"]
    rate = str(round(float(cell.control) * limit * 8))
    lasting = [*client, str(seconds + 3), "-u", "-b", rate, "-l", str(FLOOD_SIZE)]
    stream = [*client, str(seconds), "-p", str(IPERF_2), "-C", "cubic", "-P", cell.flows]
    return f"{shlex.join(lasting)} >/dev/null & sleep 1; {shlex.join(stream)}; wait"


def shares(network, samples, limit, seconds):
    """What came of each over the limit, from TCP's second second to its end, as the receiver's device and UDP count it:
    by when TCP itself has begun, it may be over."""
    link, datagrams_came = (
        at(column, seconds + 1) - at(column, 2) for column in map(samples.column, ("link", "datagrams"))
    )
    # Those of TCP and the datagrams have other headers.
    tcp = link - datagrams_came * (FLOOD_SIZE + 42 - network.headers)
    found = {"TCP": tcp, "UDP": datagrams_came * FLOOD_SIZE, "both": tcp + datagrams_came * FLOOD_SIZE}
    return {name: count / (seconds - 1) / limit for name, count in found.items()}
