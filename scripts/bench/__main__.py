"""What throttle and its peers do on the same links, side by side: `make bench`, or python3 scripts/bench BINARY
[--quick | --full | --cells PATTERN...] [--seconds N] [--rounds N] [--output FOLDER] [--list].

A cell is SECTION/PATH/DIRECTION/RATE/CONTROL/FLOWS/LIMITER; patterns are those of the shell, as in
--cells 'tcp/wan*/down/5M/*', and choose from the full grid. Paths: loopback, veth, and wanN with a round trip of N ms
(Tests/EndToEndTests/Fixtures/wan.c), tunN, the same without Ethernet, or lineN, a line of 20 Mbit/s. The raw results,
the tables and the plots go to the folder."""

import argparse
import concurrent.futures
import contextlib
import fnmatch
import os
import signal
import sys
import tempfile
import threading
import time
import types

import attach
import background
import connect
import costs
import datagrams
import grid
import groups
import links
import meters
import processes
import report
import slow
import transfers
from processes import Missing

SECTIONS = {
    "tcp": transfers.tcp,
    "fairness": transfers.tcp,
    "udp": transfers.udp,
    "datagrams": datagrams.datagrams,
    "flood": datagrams.flood,
    "quic": transfers.quic,
    "short": transfers.short,
    "reach": transfers.reach,
    "groups": groups.groups,
    "latency": costs.latency,
    "bystander": costs.bystander,
    "unlimited": costs.unlimited,
    "packets": costs.packets,
    "startup": costs.startup,
    "connect": connect.connect,
    "scaling": costs.scaling,
    "slow": slow.slow,
    "background": background.background,
    "attach": attach.attach,
}
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def measure(options, shared, name, is_alone):
    cell = types.SimpleNamespace(**dict(zip(grid.PARTS, name.split("/"))), is_alone=is_alone)
    result = {part: getattr(cell, part) for part in grid.PARTS}
    try:
        with shared.network(cell.path, cell.control) as network:
            result |= SECTIONS[cell.section](options, network, cell)
    except Missing as error:
        result["missing"] = str(error)
    except Exception as error:  # pylint: disable=broad-except  one cell's surprise doesn't end the others
        result["missing"] = f"{type(error).__name__}: {error}"
    return result


def measure_all(options, shared, names):
    """The cells that need the machine for themselves one by one, then the others, some at once."""
    results, began = {}, time.monotonic()
    lock = threading.Lock()

    def one(name, is_alone):
        result = measure(options, shared, name, is_alone)
        with lock:
            results[name] = result
            count, seconds = len(results), time.monotonic() - began
            shown = report.words({key: value for key, value in result.items() if key not in grid.PARTS})
            print(f"{count}/{len(names)} {seconds:.0f} s {name}: {shown}", file=sys.stderr, flush=True)

    for name in names:
        if grid.needs_machine(name):
            one(name, True)
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for future in [pool.submit(one, name, False) for name in names if not grid.needs_machine(name)]:
            future.result()
    return [results[name] for name in names]


def end(number, _):
    """Unwinds all that was started, once."""
    for other in ENDING:
        signal.signal(other, signal.SIG_IGN)
    processes.end_all()
    sys.exit(128 + number)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=os.path.abspath)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", dest="size", action="store_const", const="quick", help="a few cells: under 3 minutes")
    size.add_argument("--full", dest="size", action="store_const", const="full", help="all cells: hours")
    parser.add_argument("--cells", nargs="+", default=[], metavar="PATTERN")
    parser.add_argument("--seconds", type=int, help="of each transfer, once it is steady")
    parser.add_argument("--rounds", type=int, help="of what is measured several times")
    parser.add_argument("--jobs", type=int, default=2 * os.cpu_count(), help="cells at once, where rates are low")
    parser.add_argument("--output", type=os.path.abspath, metavar="FOLDER", default=f"{links.ROOT}/build/bench")
    parser.add_argument("--list", action="store_true", help="only name the cells")
    parser.set_defaults(size="default")
    options = parser.parse_args()
    seconds, rounds = {"quick": (2, 2), "default": (3, 3), "full": (4, 5)}[options.size]
    options.seconds, options.rounds = options.seconds or seconds, options.rounds or rounds
    return options


def main():
    options = parse()
    names = grid.cells("full" if options.cells else options.size)
    if options.cells:
        names = [name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in options.cells)]
    if options.list:
        print("\n".join(names))
        return
    for number in ENDING:
        signal.signal(number, end)
    began, before = time.monotonic(), meters.busy()
    try:
        links.sweep()
        processes.pause(2)
        busy_before = (meters.busy() - before) / (time.monotonic() - began) / os.cpu_count()
        with contextlib.ExitStack() as stack:
            # Files of which much is written are in memory.
            memory = links.MEMORY if os.path.isdir(links.MEMORY) else None
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix=links.OURS))
            scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix=links.OURS, dir=memory))
            results = measure_all(options, links.Shared(folder, scratch), names)
    except Missing as error:
        sys.exit(f"bench: {error}")
    finally:
        processes.end_all()
        links.sweep()
    report.write(options, results, time.monotonic() - began, busy_before)


main()
