"""What a limiter costs: latency, others' throughput, its own, start-up, memory, and how that grows."""

import contextlib
import json
import os
import statistics
import subprocess
import time

from limiters import DEVICES, OWN, TOOLS, applied, peer_servers, tool_words
from links import FIXTURES, HTTP, cgroup, pinned, quiet_server, server, web
from meters import peak_kb, timed_programs, tree
from processes import Missing, pause, quietly, require, run, started, wait_until
from transfers import IPERF, RATES, tool_of

IPERF_2 = 5202
PROBES = 10


# Latency


def latency(options, network, cell):
    """Small requests while a download fills the limit: inside of the run, if that can have others, and beside."""
    limit = RATES[cell.rate]
    url = f"http://{network.address}:{HTTP}"
    probe = f"curl -s -m 10 -o /dev/null -w '%{{time_total}}\\n' {url}/small"
    probes = f"for i in $(seq {PROBES}); do {probe}; sleep 0.2; done"
    tool, own = tool_of(cell, limit)
    load = " ".join(tool_words(tool, network, "down", own))
    wrapping = "none" if cell.limiter in TOOLS else cell.limiter
    result = {}
    with (
        peer_servers(network, tool, "down"),
        contextlib.ExitStack() as stack,
        applied(wrapping, options.binary, network, "down", limit) as wrapper,
    ):
        if tool == "rsync":
            stack.enter_context(web(network))
        inside = f"sleep 2; {probes}" if cell.limiter not in TOOLS else f"sleep {3 + PROBES // 4}"
        # The time within which the run's own probes go on is that of those beside.
        words = network.here(*wrapper, "sh", "-c", f"{load} & {inside}; kill $!")
        with started(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as loaded:
            pause(2)
            beside = run(network.here("sh", "-c", probes), 120).output
            output = loaded.communicate(timeout=120)[0]
    groups = {"beside": beside} | ({} if cell.limiter in TOOLS else {"inside": output})
    for name, text in groups.items():
        times = [float(word) * 1000 for word in text.split()]
        if len(times) != PROBES:
            raise Missing(f"{len(times)} requests of {PROBES} {name}")
        result |= {f"{name} median ms": statistics.median(times), f"{name} max ms": max(times)}
    return result


# Throughput


def throughput(network, *words, prefix=(), seconds=2):
    """Bytes, or of UDP packets, per second that the receiver of an iperf3 gets."""
    with quiet_server(network, IPERF, "iperf3", "-s"):
        done = run(network.here(*prefix, "iperf3", "-c", network.address, "-J", "-t", str(seconds), *words))
    try:
        end = json.loads(done.output).get("end")
    except ValueError:
        end = None
    if not end:
        raise Missing(f"iperf3: {(done.output or done.errors).strip()[-200:]}")
    if "-u" in words:
        return (end["sum"]["packets"] - end["sum"]["lost_packets"]) / end["sum"]["seconds"]
    return end["sum_received"]["bits_per_second"] / 8


def traffic(cell):
    """iperf3's options for a cell: "udp64" is as many packets of 64 bytes as go, "others64" others' as well."""
    words = ["-u", "-b", "0", "-l", "64"] if cell.control in ("udp64", "others64") else ["-C", cell.control]
    return words + (["-R"] if cell.direction == "down" else [])


def compared(with_it, without_it):
    return {
        "with": statistics.median(with_it),
        "without": statistics.median(without_it),
        "ratio": statistics.median(with_it) / statistics.median(without_it),
        "ratio of bests": max(with_it) / max(without_it),
    }


def bystander(options, network, cell):
    """Who is outside of a run, while one goes on and while none does, by turns."""
    limited = ["iperf3", "-c", network.address, "-p", str(IPERF_2), "-t", "60"]
    if cell.direction == "down":
        limited.append("-R")
    alone, beside = [], []
    for _ in range(options.rounds):
        alone.append(throughput(network, *traffic(cell)))
        with (
            applied(cell.limiter, options.binary, network, cell.direction, RATES[cell.rate]) as wrapper,
            quiet_server(network, IPERF_2, "iperf3", "-s", "-p", str(IPERF_2)),
            quietly(network.here(*wrapper, *limited)) as run_beside,
        ):
            pause(0.5)
            beside.append(throughput(network, *traffic(cell)))
            if run_beside.poll() is not None:
                raise Missing("the limited run ended")
    return compared(beside, alone)


def unlimited(options, network, cell):
    """What a limit costs that is never reached; udp64 shows the cost of each packet."""
    bare, through = [], []
    for _ in range(options.rounds):
        bare.append(throughput(network, *traffic(cell)))
        with applied(cell.limiter, options.binary, network, "both", RATES[cell.rate]) as wrapper:
            through.append(throughput(network, *traffic(cell), prefix=wrapper))
    return compared(through, bare)


def packets(options, network, cell):
    """ns in each BPF program for a packet, as the kernel takes them, which costs time itself. At a limit that is
    reached packets wait in a queue. With "others64" it is for packets of others, while the run's wait."""
    prefix = "hbm_" if cell.limiter == "hbm" else "throttle_"
    with (
        timed_programs() as times,
        applied(cell.limiter, options.binary, network, "both", RATES[cell.rate]) as wrapper,
        quiet_server(network, IPERF, "iperf3", "-s"),
        quietly(network.here(*wrapper, "iperf3", "-c", network.address, "-t", "6", *traffic(cell))),
    ):
        pause(1)  # what comes before there is a queue waits for it in the program
        before = times(prefix)
        pause(1.5)
        found = {name: grown(before.get(name, (0, 0)), latest) for name, latest in times(prefix).items()}
        if cell.control == "others64":
            found = times_of_others(network, cell, lambda: times(prefix))
    each = {f"{name} ns": spent / calls for name, (spent, calls) in sorted(found.items()) if calls > 1000}
    return each | {"programs ns": sum(each.values())}


def grown(before, after):
    return [later - sooner for sooner, later in zip(before, after)]


def times_of_others(network, cell, times):
    """What throttle_hold takes for packets of others: all that it takes while they come, less what it takes for
    those of the run, each of which passes it twice and throttle_back once."""
    before = times()
    if "throttle_back" not in before:
        raise Missing("nothing waits in a queue")
    words = ["iperf3", "-c", network.address, "-p", str(IPERF_2), "-t", "3", *traffic(cell)]
    with quiet_server(network, IPERF_2, "iperf3", "-s", "-p", str(IPERF_2)), quietly(network.here(*words)):
        pause(2.5)
        after = times()
    (spent, calls), back = (grown(before[name], after[name]) for name in ("throttle_hold", "throttle_back"))
    spent_for_each = before["throttle_hold"][0] / before["throttle_back"][1]
    return {"throttle_hold": (spent - spent_for_each * back[1], calls - 2 * back[1])}


# Start-up and memory


def timed(words):
    """ms from a command's start to its end; by the shortest way, as threads and pipes take time too."""
    silently = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)]
    began = time.perf_counter()
    process = os.posix_spawnp(words[0], words, os.environ, file_actions=silently)
    _, status = os.waitpid(process, 0)
    if status != 0:
        raise Missing(f"{words[-1]}: status {status}")
    return (time.perf_counter() - began) * 1000


def startup(options, network, cell):
    """A command that does nothing: all that setting up and undoing takes, without limiter ("none") and with; but for
    the compiling of hbm's program."""
    times = []
    for _ in range(1 + (20 if cell.limiter in (*OWN, "none", "trickle") else 3) * options.rounds):
        began = time.perf_counter()
        with applied(cell.limiter, options.binary, network, "down", 1_000_000) as wrapper:
            timed(network.here(*wrapper, "/bin/true"))
        times.append((time.perf_counter() - began) * 1000)
    del times[0]  # the compiling, and what isn't in memory yet
    return {"median ms": statistics.median(times), "max ms": max(times)} | memory(options, network, cell)


def memory(options, network, cell):
    """What the limiter's processes use while a command sleeps, and what a preloaded library adds to it."""
    with applied(cell.limiter, options.binary, network, "down", 1_000_000) as wrapper:
        if cell.limiter in DEVICES:
            return {"processes": 0, "peak kB": 0, "private kB": 0}
        with quietly(network.here(*wrapper, "sleep", "30")) as process, quietly(["sleep", "30"]) as bare:
            pause(1)
            found = [peak_kb(pid) for pid in tree(process.pid) if cell.limiter not in OWN or _is(pid, options.binary)]
            if cell.limiter not in OWN:  # the command itself
                found = [[count - alone for count, alone in zip(found[0], peak_kb(bare.pid))]]
    return {
        "processes": len(found) if cell.limiter in OWN else 0,
        "peak kB": max(0, sum(peak for peak, _ in found)),
        "private kB": max(0, sum(private for _, private in found)),
    }


def _is(pid, binary):
    with contextlib.suppress(OSError):
        return os.path.samefile(f"/proc/{pid}/exe", binary)
    return False


# Scaling


def scaling(options, network, cell):
    """A run whose limit isn't reached, with so many (cell.flows) other runs, sockets of its own, or programs of others:
    packets or bytes per second inside and beside, and ns of throttle's programs per packet."""
    return {"runs": among_runs, "sockets": among_sockets, "programs": among_programs}[cell.control](
        options, network, cell, int(cell.flows)
    )


UDP64 = ("-u", "-b", "0", "-l", "64", "-R")


def among_runs(options, network, cell, count):
    with contextlib.ExitStack() as stack:
        with applied(cell.limiter, options.binary, network, "both", RATES["100G"]) as wrapper:
            for _ in range(count - 1):
                stack.enter_context(quietly(network.here(*wrapper, "sleep", "300")))
            wait_until(lambda: count == 1 or _planes_are_up(options, network, count - 1), "runs don't come up")
            pause(1)
            return inside_and_beside(network, wrapper)


def _planes_are_up(options, network, count):
    done = run(network.here(options.binary, "list", "--json"))
    return done.output.count('"id"') >= count


def among_programs(options, network, cell, count):
    with cgroup() as (folder, entering), contextlib.ExitStack() as stack:
        program = network.shared.compiled(f"{FIXTURES}/foreign.bpf.c")
        for _ in range(count):
            pins = stack.enter_context(pinned(program))
            attached = ("pinned", f"{pins}/foreign_in", "multi")
            require("bpftool", "cgroup", "attach", folder, "cgroup_inet_ingress", *attached)
        with applied(cell.limiter, options.binary, network, "both", RATES["100G"]) as wrapper:
            return inside_and_beside(network, [*entering, *wrapper], entering)


def inside_and_beside(network, wrapper, beside=()):
    result = {
        "inside /s": throughput(network, *UDP64, prefix=wrapper),
        "beside /s": throughput(network, *UDP64, prefix=beside),
    }
    with quiet_server(network, IPERF, "iperf3", "-s"):
        words = network.here(*wrapper, "iperf3", "-c", network.address, "-t", "3", *UDP64)
        return result | {"ns/packet": ns_per_packet(network, words)}


def received_packets(network):
    with open(f"/proc/{network.witnesses[network.near].pid}/net/dev", encoding="ascii") as table:
        return next(int(line.split()[2]) for line in table if line.strip().startswith(f"{network.device}:"))


def among_sockets(options, network, cell, count):
    script = f"{FIXTURES}/sockets.py"
    require(*network.here("sysctl", "-qw", "net.ipv4.ip_local_port_range=2000 65000"))
    result = {}
    with applied(cell.limiter, options.binary, network, "both", RATES["100G"]) as wrapper:
        for name, prefix, seconds in (("inside", wrapper, "2"), ("beside", [], "2"), ("timed", wrapper, "3")):
            with contextlib.ExitStack() as stack:
                stack.enter_context(server(network, 8079, "python3", script, "serve", stdout=subprocess.DEVNULL))
                words = network.here(*prefix, "python3", script, str(count - 1), seconds)
                if name == "timed":
                    result["ns/packet"] = ns_per_packet(network, words)
                    continue
                done = run(words, 120)
            if done.status != 0:
                raise Missing(f"sockets.py: {done.errors.strip()[-200:]}")
            result[f"{name} /s"] = float(done.output.split()[-1])
    return result


def ns_per_packet(network, words):
    """Of throttle's programs together, for each packet that came by the device while a command ran."""
    found, came, before = {}, 0, received_packets(network)
    with timed_programs() as times, quietly(words) as process:
        while process.poll() is None:  # they are unloaded as it ends
            latest, packets_now = times("throttle_"), received_packets(network) - before
            if latest:
                found, came = latest, packets_now
            pause(0.2)
    if came < 1000:
        raise Missing(f"{came} packets came")
    return sum(spent for spent, _ in found.values()) / came
