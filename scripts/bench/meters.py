"""What is measured: what crossed the link, what the application got, TCP's counters, processor time, memory."""

import bisect
import contextlib
import json
import os
import threading
import time

from links import round_trip
from processes import Missing, require, tree

PERIOD = 0.02  # seconds between samples
TICKS = os.sysconf("SC_CLK_TCK")


def settling(path):
    """Seconds until a transfer is steady: TCP's slow start to 200 MB/s takes up to 40 round trips."""
    return max(1, 40 * round_trip(path))


def link_payload(network, namespace, headers=None):
    """Bytes of payload that have come to a namespace, in which nothing else goes on."""
    headers = network.headers if headers is None else headers
    with open(f"/proc/{network.witnesses[namespace].pid}/net/dev", encoding="ascii") as table:
        for line in table:
            name, _, numbers = line.partition(":")
            if name.strip() == network.device:
                received, packets = (int(word) for word in numbers.split()[:2])
                return received - packets * headers
    return 0


def protocol_counts(network, namespace, protocol):
    """What a namespace counts of "Tcp" or "Udp", as texts by name."""
    with open(f"/proc/{network.witnesses[namespace].pid}/net/snmp", encoding="ascii") as table:
        names, values = (line.split() for line in table if line.startswith(f"{protocol}:"))
    return dict(zip(names, values))


def tcp_segments(network, namespace):
    """Segments that a namespace has sent, and sent again."""
    counts = protocol_counts(network, namespace, "Tcp")
    return int(counts["OutSegs"]), int(counts["RetransSegs"])


def written(pid):
    """Bytes that a command and its children have written: a download's, to its file."""
    return _input_output(pid, "wchar")


def taken(pid):
    """Bytes that a command and its children have read: a receiver's, from its sockets."""
    return _input_output(pid, "rchar")


def _input_output(pid, kind):
    total = 0
    for number in tree(pid):
        with contextlib.suppress(OSError), open(f"/proc/{number}/io", encoding="ascii") as counts:
            total += next(int(line.split()[1]) for line in counts if line.startswith(kind))
    return total


def busy():
    """Processor seconds of the whole machine that were not idle: interrupts have no owner."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _, _, interrupt, soft = (int(word) for word in file.readline().split()[1:8])
    return (user + nice + system + interrupt + soft) / TICKS


def peak_kb(pid):
    """The most memory that a process has used, and what of that is its own now, in kB."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        private = sum(int(line.split()[1]) for line in file if line.startswith("Private_"))
    return peak, private


class Samples:
    """Counters as they grow, from the block's start to its end."""

    def __init__(self, period=PERIOD, **counters):
        self.period, self.counters, self.rows, self._over = period, counters, [], threading.Event()

    def __enter__(self):
        self._take()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _take(self):
        values = [counter() for counter in self.counters.values()]
        self.rows.append((time.monotonic(), *values))

    def _run(self):
        while not self._over.wait(self.period):
            with contextlib.suppress(OSError, ValueError):
                self._take()

    def column(self, name):
        """(time, growth) since the link's first 2000 bytes: what comes before is not the transfer."""
        index = 1 + list(self.counters).index(name)
        link = 1 + list(self.counters).index("link")
        first = next((i for i, row in enumerate(self.rows) if row[link] > self.rows[0][link] + 2000), None)
        if first is None:
            raise Missing("nothing came")
        began = self.rows[max(0, first - 1)]
        return [(row[0] - began[0], row[index] - began[index]) for row in self.rows[max(0, first - 1) :]]

    def clocked(self, name):
        """(time, value), all of them, by time.monotonic()."""
        index = 1 + list(self.counters).index(name)
        return [(row[0], row[index]) for row in list(self.rows)]


def at(column, moment):
    """A counter's value at a moment, between samples in proportion."""
    index = bisect.bisect_left(column, (moment,))
    if index == 0:
        return column[0][1]
    if index == len(column):
        return column[-1][1]
    (before, low), (after, high) = column[index - 1 : index + 1]
    return low + (high - low) * (moment - before) / (after - before)


def link_figures(column, limit, seconds):
    """Ratios to the limit of what crossed the link: all of it, its first second, its worst 100 ms, and each 100 ms."""
    end = min(seconds, column[-1][0])
    if end < 1:
        raise Missing("ended within a second")
    worst = max(at(column, start + 0.1) - count for start, count in column if start + 0.1 <= end)
    turns = [at(column, (i + 1) / 10) - at(column, i / 10) for i in range(int(end * 10 + 0.01))]
    return {
        "link": at(column, end) / end / limit,
        "link first second": at(column, 1) / limit,
        "link worst 100 ms": worst * 10 / limit,
        "series": [round(count * 10 / limit, 2) for count in turns],
    }


def figures(intervals, limit, path):
    """Ratios to the limit of what the application got, from (start, seconds, bytes) of intervals of 100 ms."""
    first = [count for start, _, count in intervals if start < 0.95]
    rest = [(seconds, count) for start, seconds, count in intervals if start >= 0.95 and seconds > 0.05]
    steady = [(seconds, count) for start, seconds, count in intervals if start >= settling(path) - 0.05]
    if not steady:
        raise Missing("ended before it was steady")
    return {
        "steady": sum(count for _, count in steady) / sum(seconds for seconds, _ in steady) / limit,
        "first second": sum(first) / limit,
        "100 ms": [edge(count / seconds / limit for seconds, count in rest) for edge in (min, max)],
    }


def column_figures(column, limit, path, seconds):
    """The same from samples."""
    count = int(min(seconds, column[-1][0]) * 10 + 0.01)
    parts = [(i / 10, 0.1, at(column, (i + 1) / 10) - at(column, i / 10)) for i in range(count)]
    return figures(parts, limit, path)


# BPF programs


def loaded_programs():
    return {int(program["id"]): program for program in json.loads(require("bpftool", "-j", "prog", "show"))}


@contextlib.contextmanager
def timed_programs():
    """Has the kernel time programs meanwhile, which costs time itself. Yields what tells the times, in ns and calls by
    name, of those that the block loaded, or had before if it told so."""
    setting = "/proc/sys/kernel/bpf_stats_enabled"
    before = loaded_programs()
    with open(setting, encoding="ascii") as file:
        previous = file.read()
    with open(setting, "w", encoding="ascii") as file:
        file.write("1")

    def times(prefix):
        found = {}
        for number, program in loaded_programs().items():
            if program.get("name", "").startswith(prefix):
                old = before.get(number, {})
                spent = program.get("run_time_ns", 0) - old.get("run_time_ns", 0)
                calls = program.get("run_cnt", 0) - old.get("run_cnt", 0)
                total = found.setdefault(program["name"], [0, 0])
                total[0], total[1] = total[0] + spent, total[1] + calls
        return found

    try:
        yield times
    finally:
        with open(setting, "w", encoding="ascii") as file:
            file.write(previous)
