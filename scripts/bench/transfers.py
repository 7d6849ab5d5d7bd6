"""How exactly each limiter holds a rate: TCP, UDP, QUIC, short transfers, and what preloading doesn't reach."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time

from limiters import TOOLS, applied, peer_servers, require_installed, tool_words
from links import FIXTURES, HTTP, LINE, ROOT, server, web
from meters import Samples, busy, column_figures, figures, link_figures, link_payload, settling, tcp_segments, written
from processes import Missing, pause, quietly, run, started, wait_until

RATES = {
    "50k": 50_000,
    "100k": 100_000,
    "200k": 200_000,
    "500k": 500_000,
    "1M": 1_000_000,
    "2M": 2_000_000,
    "2.5M": LINE,
    "5M": 5_000_000,
    "20M": 20_000_000,
    "50M": 50_000_000,
    "100M": 100_000_000,
    "200M": 200_000_000,
    "100G": 100_000_000_000,
}
IPERF, QUIC = 5201, 8079
# Has aioquic, if `make bench` could install it.
VENV_PYTHON = f"{ROOT}/build/quic/bin/python3"
NO_AIOQUIC = "aioquic: not installed"


def duration(options, cell):
    least = 10 if RATES[cell.rate] < 100_000 else 0
    return max(options.seconds + round(settling(cell.path)), least)


def dropped(done, direction):
    """What throttle says that it dropped, of what came, and how long its queue was at most."""
    for line in done.errors.splitlines():
        if line.startswith("{"):
            counts = json.loads(line)["download" if direction == "down" else "upload"]
            keys = {"dropped": "dropped_packets", "came": "program_calls"}
            keys |= {"queue dropped": "queue_dropped_packets", "queue s": "queue_delay_maximum_seconds"}
            return {name: counts.get(key) for name, key in keys.items()}
    return {}


def link_samples(network, cell, headers=None, **more):
    receiver = network.receiver(cell.direction)
    return Samples(link=lambda: link_payload(network, receiver, headers), cpu=busy, **more)


def link_result(samples, limit, seconds, is_alone):
    """What the link carried, and what the machine's processors did for it, if nothing else was measured meanwhile."""
    link = samples.column("link")
    result = link_figures(link, limit, seconds)
    elapsed, spent = samples.column("cpu")[-1]
    # Of processors that were all busy nobody knows with what.
    if is_alone and spent < 0.95 * elapsed * os.cpu_count():
        result["cpu s/GB"] = spent / link[-1][1] * 1e9
    return result


def sent_again(network, cell, before):
    """Since `before`, per thousand segments; on loopback both ends count as one."""
    sent, again = (b - a for a, b in zip(before, tcp_segments(network, network.sender(cell.direction))))
    return {"retransmits": again, "retransmits ‰": 1000 * again / max(1, sent)}


def iperf(options, network, cell, wrapper, *more):
    """One iperf3: what the client and the server report, and how the client ended."""
    seconds = duration(options, cell)
    words = ["iperf3", "-c", network.address, "-J", "-i", "0.1", "-t", str(seconds), *more]
    if cell.direction == "down":
        words.append("-R")
    with iperf_server(network) as came:
        done = run(network.here(*wrapper, *words), seconds + 40)
        return done, *(report_of(text, done.errors) for text in (done.output, came()))


@contextlib.contextmanager
def iperf_server(network, port=IPERF):
    """Serves one client. Yields what tells the report, once that client is gone."""
    # A file, as nobody reads meanwhile.
    with tempfile.TemporaryFile("w+") as file:
        listening = ("iperf3", "-s", "-p", str(port), "-1", "-J", "-i", "0.1")
        with server(network, port, *listening, stdout=file, stderr=subprocess.STDOUT) as process:

            def told():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(3)
                if process.poll() is None:
                    process.terminate()
                    process.wait(3)
                file.seek(0)
                return file.read()

            yield told


def report_of(text, errors):
    """iperf3's, or why there is none."""
    try:
        return json.loads(text)
    except ValueError:
        return {"error": (text.strip() or errors.strip())[-200:], "intervals": [], "end": {}}


def intervals(report):
    """Without those after the client's end: a server goes on until it is told, and UDP's brings nothing then."""
    sums = [interval["sum"] for interval in report["intervals"]]
    end = report["start"]["test_start"]["duration"] - 0.05 if sums else 0
    return [(part["start"], part["seconds"], part["bytes"]) for part in sums if part["start"] < end]


def tcp(options, network, cell):
    if cell.limiter in (*TOOLS, "trickle"):
        return by_tool(options, network, cell)
    limit = RATES[cell.rate]
    more = ["-C", cell.control, "-P", cell.flows]
    if cell.limiter == "none":
        # In blocks of 10 ms: of 128 kB one would last for seconds.
        block = min(128 << 10, max(1000, limit // 100))
        more += ["-b", str(limit * 8 // int(cell.flows)), "-l", str(block)]
    before = tcp_segments(network, network.sender(cell.direction))
    with (
        applied(cell.limiter, options.binary, network, cell.direction, limit) as wrapper,
        link_samples(network, cell) as samples,
    ):
        done, client, remote = iperf(options, network, cell, wrapper, *more)
    if done.status != 0 or "error" in client:
        raise Missing(f"iperf3: {client.get('error') or done.errors.strip()[-200:]}")
    receiver = client if cell.direction == "down" else remote
    result = figures(intervals(receiver), limit, cell.path)
    if client["end"]["sender_tcp_congestion"] != cell.control:
        raise Missing(f"the sender used {client['end']['sender_tcp_congestion']}")
    received = [stream["receiver"]["bytes"] for stream in receiver["end"]["streams"]]
    if len(received) > 1 and any(received):
        result["Jain"] = sum(received) ** 2 / len(received) / sum(count * count for count in received)
    result |= sent_again(network, cell, before) | dropped(done, cell.direction)
    return result | link_result(samples, limit, duration(options, cell), cell.is_alone)


def tool_of(cell, limit):
    """The tool of a cell, and the limit that it is given itself. trickle's are those that it limits best."""
    if cell.limiter in TOOLS:
        return cell.limiter, limit
    if cell.direction == "up":
        return "rsync", None
    return ("wget" if cell.flows == "1" else "aria2"), None


def by_tool(options, network, cell):
    """A tool with a limit of its own, or one that is wrapped. What the application got is what it has written; of
    uploads, whose receivers read at once, it is what the link carried."""
    limit, seconds = RATES[cell.rate], duration(options, cell)
    tool, own = tool_of(cell, limit)
    require_installed(tool)
    words = tool_words(tool, network, cell.direction, own, int(cell.flows))
    before = tcp_segments(network, network.sender(cell.direction))
    wrapping = "none" if cell.limiter in TOOLS else cell.limiter
    with (
        peer_servers(network, tool, cell.direction),
        applied(wrapping, options.binary, network, cell.direction, limit) as wrapper,
        quietly(network.here(*wrapper, *words)) as client,
        link_samples(network, cell, written=lambda: written(client.pid)) as samples,
    ):
        transfer_for(samples, client, seconds)
        after = sent_again(network, cell, before)
    application = samples.column("written" if cell.direction == "down" else "link")
    result = column_figures(application, limit, cell.path, seconds) | after
    return result | link_result(samples, limit, seconds, cell.is_alone)


def transfer_for(samples, client, seconds):
    """Waits until something has come, and then for `seconds`."""

    def has_begun():
        with contextlib.suppress(Missing):
            return bool(samples.column("link"))
        return client.poll() is not None

    wait_until(has_begun, "nothing came")
    end = time.monotonic() + seconds + 0.1
    while client.poll() is None and time.monotonic() < end:
        pause(0.05)


def udp(options, network, cell):
    """Senders that don't heed losses, at 40 times the limit."""
    limit = RATES[cell.rate]
    headers = network.headers - 24  # UDP's and no TCP's with options
    with (
        applied(cell.limiter, options.binary, network, cell.direction, limit) as wrapper,
        link_samples(network, cell, headers) as samples,
    ):
        done, client, remote = iperf(options, network, cell, wrapper, "-u", "-b", str(40 * limit * 8))
    sender, receiver = (remote, client) if cell.direction == "down" else (client, remote)
    result = {"status": done.status, "error": sender.get("error") or receiver.get("error") or ""}
    result |= dropped(done, cell.direction)
    with contextlib.suppress(Missing):
        result |= figures(intervals(receiver), limit, cell.path)
    if result["error"] and "steady" not in result:
        raise Missing(f"iperf3: {result['error']}")
    return result | link_result(samples, limit, duration(options, cell), cell.is_alone)


def quic(options, network, cell):
    """A sender in user space that heeds losses. What counts is UDP's payload, as for the limit; `useful` is the part of
    it that the stream's reader had by the end, and `lost` the packets that QUIC took for lost."""
    python = VENV_PYTHON if os.path.exists(VENV_PYTHON) else sys.executable
    if run([python, "-c", "import aioquic"]).status != 0:
        raise Missing(NO_AIOQUIC)
    limit, seconds = RATES[cell.rate], duration(options, cell)
    words = [str(QUIC), cell.direction, str(seconds), str(3 * seconds * limit)]
    program = f"{FIXTURES}/quic.py"
    with started(network.there(python, program, "serve", *words), stdout=subprocess.PIPE) as process:
        if process.stdout.readline() != "ready\n":
            raise Missing("quic.py doesn't serve")
        with applied(cell.limiter, options.binary, network, cell.direction, limit) as wrapper:
            done = run(network.here(*wrapper, python, program, network.address, *words), seconds + 40)
        process.terminate()
        output = process.stdout.read()
    if done.status != 0 or not output:
        said = [line for line in done.errors.splitlines() if not line.startswith("{")]
        raise Missing(f"quic.py: {said[-1:]}")
    client, remote = json.loads(done.output), json.loads(output)
    sender, receiver = (remote, client) if cell.direction == "down" else (client, remote)
    result = figures(receiver["intervals"], limit, cell.path)
    result["useful"] = receiver["stream"] / max(1, sum(count for _, _, count in receiver["intervals"]))
    result |= {"lost": sender["lost"], "error": client["error"] or remote["error"]}
    return result | dropped(done, cell.direction)


def short(options, network, cell):
    """One megabyte from the command's start to its end: what a user of a small file sees."""
    limit = RATES[cell.rate]
    tool, own = tool_of(cell, limit)
    require_installed(tool)
    words = tool_words(tool, network, "down", own, name="mega")
    wrapping = "none" if cell.limiter in TOOLS else cell.limiter
    ratios = []
    with (
        peer_servers(network, tool, "down"),
        applied(wrapping, options.binary, network, "down", limit) as wrapper,
    ):
        for _ in range(options.rounds):
            before = link_payload(network, network.near)
            began = time.monotonic()
            done = run(network.here(*wrapper, *words), 60)
            ratios.append(1_000_000 / (time.monotonic() - began) / limit)
            if done.status != 0 or link_payload(network, network.near) - before < 1_000_000:
                raise Missing(f"{tool}: status {done.status} {done.errors.strip()[-200:]}")
            for name in os.listdir(f"{network.shared.scratch}/{network.near}"):
                os.unlink(f"{network.shared.scratch}/{network.near}/{name}")
    ratios.sort()
    return {"steady": ratios[len(ratios) // 2], "from": ratios[0], "to": ratios[-1]}


def reach(options, network, cell):
    """Downloads of a static program that makes its system calls itself (raw.c), and of four processes at once."""
    limit, seconds = RATES[cell.rate], duration(options, cell)
    url = f"http://{network.address}:{HTTP}/big"
    if cell.control == "static":
        words = [network.shared.raw, network.address, str(HTTP)]
    else:
        words = ["sh", "-c", f"for i in 1 2 3 4; do wget -q -O /dev/null {url} & done; wait"]
    with (
        web(network),
        applied(cell.limiter, options.binary, network, "down", limit) as wrapper,
        quietly(network.here(*wrapper, *words)) as client,
        link_samples(network, cell, written=lambda: written(client.pid)) as samples,
    ):
        transfer_for(samples, client, seconds)
    result = column_figures(samples.column("written"), limit, cell.path, seconds)
    return result | link_result(samples, limit, seconds, cell.is_alone)
