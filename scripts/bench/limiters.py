"""What limits: throttle, and its peers. Wrappers and devices limit whatever runs in them, tools what they transfer."""

import contextlib
import os
import shutil

from links import HTTP, ROOT, RSYNC, cgroup, pinned, rsync_daemon, server, web
from processes import Missing, remove, require

OWN = {"throttle": [], "police": ["--mode", "police"]}
DEVICES = ("tbf", "htb")
WRAPPERS = (*OWN, "trickle", *DEVICES, "hbm")
TOOLS = ("wget", "curl", "rsync", "aria2")
LIMITERS = (*WRAPPERS, *TOOLS)
# They limit nothing: congestion controls that give way, and a network that is slow for all.
CONTROLLED = ("lp", "vegas")
OTHERS = (*CONTROLLED, "netem")
EXECUTABLES = {"trickle": "trickle", "aria2": "aria2c", "hbm": "bpftool", "tbf": "tc", "htb": "tc"}
DESCRIPTIONS = {
    "none": "no limiter; the sender itself sends at the rate (`iperf3 -b`), or unlimited where noted",
    "throttle": "`throttle run`, which is `--mode auto`",
    "police": "`throttle run --mode police`",
    "trickle": "`trickle -s` around wget, with several connections aria2c; uploads: rsync; what it limits best",
    "tbf": "`tc qdisc … tbf latency 200ms` on the device; for downloads on an IFB behind it, on loopback on lo",
    "htb": "the same with `htb`, and a bfifo of 200 ms, at least 70 kB",
    "hbm": "a strict token bucket that drops, BPF on a cgroup, like the kernel's samples/bpf/hbm (`hbm.bpf.c`)",
    "wget": "`wget --limit-rate`",
    "curl": "`curl --limit-rate`",
    "rsync": "`rsync --bwlimit`, with a daemon",
    "aria2": "`aria2c --max-overall-download-limit`",
    "lp": "TCP-LP, `iperf3 -C lp`, as a flow in the background",
    "vegas": "TCP Vegas, `iperf3 -C vegas`, the same",
    "netem": "`tc qdisc … netem` on the devices of both ends, each with half of the round trip",
}
# Bytes of a queue for 200 ms: at least one packet of loopback, at most what bfifo takes.
LEAST_QUEUE, MOST_QUEUE = 70_000, 1 << 30
SINK = 8078
SINK_SCRIPT = f"""
import os, socket
listening = socket.create_server(('', {SINK}))
while True:
    connection = listening.accept()[0]
    if os.fork() == 0:
        while connection.recv(1 << 20): pass
        os._exit(0)
    connection.close()
"""


def require_installed(limiter):
    words = EXECUTABLES.get(limiter, limiter)
    if limiter not in (*OWN, "none") and not shutil.which(words):
        raise Missing(f"{words}: not installed")


@contextlib.contextmanager
def applied(limiter, binary, network, direction, limit):
    """Limits `direction`: "down", "up", or "both", as far as it goes. Yields the words in front of what shall be
    limited; none where the device limits or nothing does."""
    require_installed(limiter)
    with contextlib.ExitStack() as stack:
        if limiter in OWN:
            rates = [f"--{name}={limit}" for name in ("down", "up") if direction in (name, "both")]
            yield [binary, "run", *rates, "--stats=json", *OWN[limiter], "--"]
        elif limiter == "trickle":
            kilobytes = str(max(1, round(limit / 1024)))
            yield ["trickle", "-s", "-d", kilobytes, "-u", kilobytes]
        elif limiter in DEVICES:
            stack.enter_context(device_limit(limiter, network, direction, limit))
            yield []
        elif limiter == "hbm":
            yield stack.enter_context(bucket(network, direction, limit))
        else:
            yield []


@contextlib.contextmanager
def device_limit(limiter, network, direction, limit):
    """Of the client's device; where it receives, of an IFB device behind it."""
    device, is_redirected = network.device, direction != "up" and network.path != "loopback"
    ip, tc = ("ip", "-n", network.near), ("tc", "-n", network.near)
    try:
        if is_redirected:
            require(*ip, "link", "add", "ifb0", "type", "ifb")
            require(*ip, "link", "set", "ifb0", "up")
            require(*tc, "qdisc", "add", "dev", device, "ingress")
            matching = ("protocol", "all", "u32", "match", "u32", "0", "0")
            redirecting = ("action", "mirred", "egress", "redirect", "dev", "ifb0")
            require(*tc, "filter", "add", "dev", device, "parent", "ffff:", *matching, *redirecting)
            add_qdisc(tc, "ifb0", limiter, limit)
        if direction != "down" or not is_redirected:
            add_qdisc(tc, device, limiter, limit)
        yield
    finally:
        if is_redirected:
            remove(*tc, "qdisc", "del", "dev", device, "ingress")
            remove(*ip, "link", "del", "ifb0")
        if direction != "down" or not is_redirected:
            remove(*tc, "qdisc", "del", "dev", device, "root")


def add_qdisc(tc, device, limiter, limit):
    rate = f"{limit}bps"  # tc's word for bytes per second
    if limiter == "tbf":
        burst = max(round(limit / 100), LEAST_QUEUE if device == "lo" else 3200)
        shape = ("tbf", "rate", rate, "burst", str(burst), "latency", "200ms")
        require(*tc, "qdisc", "add", "dev", device, "root", *shape)
    else:
        queue = str(min(max(round(limit / 5), LEAST_QUEUE), MOST_QUEUE))
        require(*tc, "qdisc", "add", "dev", device, "root", "handle", "1:", "htb", "default", "1")
        require(*tc, "class", "add", "dev", device, "parent", "1:", "classid", "1:1", "htb", "rate", rate)
        require(*tc, "qdisc", "add", "dev", device, "parent", "1:1", "bfifo", "limit", queue)


@contextlib.contextmanager
def bucket(network, direction, limit):
    program = network.shared.compiled(f"{ROOT}/scripts/bench/hbm.bpf.c", f"-DRATE={limit}ll")
    with cgroup() as (folder, words), pinned(program) as programs:
        for name, kind in (("down", "cgroup_inet_ingress"), ("up", "cgroup_inet_egress")):
            if direction in (name, "both"):
                require("bpftool", "cgroup", "attach", folder, kind, "pinned", f"{programs}/hbm_{name}", "multi")
        yield words


# Transfers by HTTP or rsync, which need no iperf3


@contextlib.contextmanager
def peer_servers(network, tool, direction):
    """What the far end has for a tool."""
    if tool == "rsync":
        with rsync_daemon(network):
            yield
    elif direction == "down":
        with web(network):
            yield
    else:
        with server(network, SINK, "python3", "-c", SINK_SCRIPT):
            yield


def tool_words(tool, network, direction, limit, flows=1, name="big"):
    """A tool that transfers a file at its own limit, or with None without one."""
    url = f"http://{network.address}:{HTTP}/{name}"
    rate = [] if limit is None else ["--limit-rate", str(limit)]
    scratch = f"{network.shared.scratch}/{network.near}"
    os.makedirs(scratch, exist_ok=True)
    if tool == "wget":
        return ["wget", "-q", "-O", "/dev/null", *rate, url]
    if tool == "rsync":
        rate = [] if limit is None else [f"--bwlimit={limit / 1000:g}kB"]
        place = f"rsync://{network.address}:{RSYNC}"
        ends = (f"{place}/files/{name}", scratch)
        if direction == "up":
            ends = (f"{network.shared.folder}/{name}", f"{place}/scratch/{network.near}/")
        return ["rsync", "--whole-file", "--inplace", *rate, *ends]
    if tool == "aria2":
        rate = [] if limit is None else [f"--max-overall-download-limit={limit}"]
        # trickle knows select() and poll(), not epoll.
        many = ["-x", str(flows), "-s", str(flows), "-k", "1M", "--event-poll=select"]
        files = ["--file-allocation=none", "--disk-cache=0", "--allow-overwrite=true", "-d", scratch, "-o", name]
        return ["aria2c", "-q", "--no-conf", *many, *rate, *files, url]
    if direction == "up":
        transfer = ["-T", f"{network.shared.folder}/{name}", f"http://{network.address}:{SINK}/"]
    else:
        transfer = ["-o", "/dev/null", url]
    return ["curl", "-s", "-H", "Expect:", *rate, *transfer]
