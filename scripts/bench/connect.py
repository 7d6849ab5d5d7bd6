"""What a run's beginning costs it and others: a first connection, a small file, the wait for the RTNL lock, and whether
many runs at once all get a queue."""

import contextlib
import json
import statistics
import subprocess

from costs import timed
from limiters import applied, require_installed, tool_words
from links import HTTP, web
from meters import link_payload
from processes import Missing, pause, require, run, started, wait_until
from transfers import RATES

# Changes a device again and again, and answers each line with the longest wait in ms since the last one.
OTHERS = """
import fcntl, itertools, select, socket, struct, sys, time
SIOCSIFMTU = 0x8922
any_socket, longest = socket.socket(), 0
for mtu in itertools.cycle((60000, 60001)):
    began = time.perf_counter()
    fcntl.ioctl(any_socket, SIOCSIFMTU, struct.pack("16si20x", b"lo", mtu))
    longest = max(longest, time.perf_counter() - began)
    if select.select([sys.stdin], [], [], 0.001)[0]:
        if not sys.stdin.readline():
            break
        print(longest * 1000, flush=True)
        longest = 0
"""


def connect(options, network, cell):
    """cell.control is what is measured, cell.flows how many devices there are, or runs."""
    require_installed(cell.limiter)
    if cell.control == "runs":
        with web(network):
            return many_runs(options, network, cell, int(cell.flows))
    add_devices(network, int(cell.flows))
    with (
        web(network),
        applied(cell.limiter, options.binary, network, cell.direction, RATES[cell.rate]) as wrapper,
        {"connect": connecting, "file": transferring, "others": waiting}[cell.control](network, wrapper) as measured,
    ):
        resident, times = pids(network), []
        for _ in range(1 + 7 * options.rounds):
            times.append(measured(lambda: settle(network, resident)))
    del times[0]  # what isn't in memory yet, and ARP
    return {"median ms": statistics.median(times), "max ms": max(times)}


def add_devices(network, count):
    """In pairs. They have no IPv6, whose own beginning would take the RTNL lock meanwhile."""
    lines = "echo link add p$i type veth peer name q$i; echo link set p$i up; echo link set q$i up"
    require(*network.here("sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1"))
    require(*network.here("sh", "-c", f"for i in $(seq {count // 2}); do {lines}; done | ip -batch -"))
    pause(0.5)


def pids(network):
    return set(require("ip", "netns", "pids", network.near).split())


def settle(network, resident):
    """Until a run's last process has undone all, and a little longer, as the kernel frees what it had later; without a
    limiter too, as a processor that has slept is slower at first."""
    wait_until(lambda: pids(network) <= resident, "a run doesn't end")
    pause(0.1)


# What is measured: each yields a function that has a command run once, then `settled`, and returns ms


@contextlib.contextmanager
def connecting(network, wrapper):
    """connect() of a program that does nothing before."""

    def measured(settled):
        done = run(client(network, wrapper))
        if done.status != 0:
            raise Missing(f"connect: {done.errors.strip()[-200:]}")
        settled()
        return float(done.output)

    yield measured


@contextlib.contextmanager
def transferring(network, wrapper):
    """100 kB by curl, from the command's start to its end."""

    def measured(settled):
        before = link_payload(network, network.near)
        spent = timed(network.here(*wrapper, *tool_words("curl", network, "down", None, name="part")))
        if link_payload(network, network.near) - before < 100_000:
            raise Missing("curl: not all came")
        settled()
        return spent

    yield measured


@contextlib.contextmanager
def waiting(network, wrapper):
    """How long at most somebody else waits who changes a device, while a run begins, connects and ends."""
    with started(network.here("python3", "-c", OTHERS), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as others:

        def longest():
            others.stdin.write("\n")
            others.stdin.flush()
            return float(others.stdout.readline())

        def measured(settled):
            longest()
            timed(client(network, wrapper))
            settled()
            return longest()

        longest()
        yield measured


def client(network, wrapper):
    return network.here(*wrapper, network.shared.connect, network.address, str(HTTP))


# Runs at once


def many_runs(options, network, cell, count):
    """Which of them have a queue, as their reports say."""
    before = pids(network)
    with (
        contextlib.ExitStack() as stack,
        applied(cell.limiter, options.binary, network, cell.direction, RATES[cell.rate]) as wrapper,
    ):
        words = network.here(*wrapper, *tool_words("curl", network, "down", None), "-m", "15")
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        runs = [stack.enter_context(started(words, **pipes)) for _ in range(count)]
        pause(1)
        if any(process.poll() is not None for process in runs):
            raise Missing("they didn't run at once")
        reports = [report_of(process.communicate(timeout=60)[1]) for process in runs]
    wait_until(lambda: pids(network) <= before, "runs don't end")
    downloads = [report["download"] for report in reports]
    ratios = [download["achieved_ratio"] for download in downloads]
    return {
        "without queue": sum("shape" not in report["planes"] for report in reports),
        "dropped": sum(download["dropped_packets"] for download in downloads),
        "came": sum(download["program_calls"] for download in downloads),
        "queue dropped": sum(download["queue_dropped_packets"] for download in downloads),
        "median": statistics.median(ratios),
        "from": min(ratios),
        "to": max(ratios),
    }


def report_of(errors):
    line = next((line for line in errors.splitlines() if line.startswith("{")), None)
    if line is None:
        raise Missing(f"a run has no report: {errors.strip()[-200:]}")
    return json.loads(line)
