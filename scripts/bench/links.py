"""The paths that traffic takes: two network namespaces, the client's and the server's, and what joins them."""

import contextlib
import dataclasses
import itertools
import os
import re
import string
import subprocess
import tempfile

from processes import Missing, remove, require, started, wait_until

# Those of which the full grid has everything; there are others.
PATHS = ("loopback", "veth", "wan20", "wan60", "wan150")
CONTROLS = ("cubic", "bbr")
HTTP, RSYNC = 8077, 8873
LINE, LINE_BUFFER = 2_500_000, 200  # bytes per second and ms of line paths: 20 Mbit/s, and more buffer than is good
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FIXTURES = f"{ROOT}/Tests/EndToEndTests/Fixtures"
OURS = f"bench-{os.getpid()}-"
BPF = "/sys/fs/bpf"
MEMORY = "/dev/shm"

_numbers = itertools.count()


def round_trip(path):
    """Seconds, as the path's name has it."""
    return int(path.lstrip(string.ascii_lowercase) or 0) / 1000


def unique(what):
    """A name for a namespace, cgroup or folder of pins, by which sweep() finds it."""
    return f"{OURS}{what}{next(_numbers)}"


def inside(namespace, *words):
    return ["nsenter", f"--net=/run/netns/{namespace}", *words]


@dataclasses.dataclass
class Network:
    """Two namespaces; on loopback they are one."""

    path: str
    near: str
    far: str
    address: str  # the server's
    device: str  # in both
    headers: int  # bytes of a TCP segment before its payload, as the device counts them
    witnesses: dict  # a process in each, whose /proc has the namespace's counters
    shared: "Shared"

    def here(self, *words):
        return inside(self.near, *words)

    def there(self, *words):
        return inside(self.far, *words)

    def receiver(self, direction):
        return self.near if direction == "down" else self.far

    def sender(self, direction):
        return self.far if direction == "down" else self.near


class Shared:
    """What all networks use: a folder with files to send, and programs that are built for the bench."""

    def __init__(self, folder, scratch):
        self.folder, self.scratch = folder, scratch
        self.wan, self.raw, self.connect, self.delays = (
            f"{folder}/{name}" for name in ("wan", "raw", "connect", "delays")
        )
        require("clang", "-O2", "-o", self.wan, f"{FIXTURES}/wan.c")
        static = ("-static", "-nostdlib", "-nostartfiles", "-ffreestanding", "-fno-stack-protector")
        require("clang", "-O2", *static, "-o", self.raw, f"{ROOT}/scripts/bench/raw.c")
        require("clang", "-O2", "-o", self.connect, f"{ROOT}/scripts/bench/connect.c")
        require("clang", "-O2", "-o", self.delays, f"{ROOT}/scripts/bench/delays.c")
        for name, size in (("big", 20 << 30), ("mega", 1_000_000), ("part", 100_000), ("small", 1000)):
            with open(f"{folder}/{name}", "wb") as file:
                file.truncate(size)
        temporary = "".join(
            f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        self._write(
            "nginx.conf",
            f"daemon off; master_process off; pid {folder}/nginx.pid; events {{}}\n"
            f"http {{ access_log off; sendfile on; {temporary} server {{ listen {HTTP}; root {folder}; }} }}\n",
        )
        self._write(
            "rsyncd.conf",
            f"use chroot = no\nuid = root\ngid = root\n[files]\npath = {folder}\n[scratch]\npath = {scratch}\n"
            "read only = no\n",
        )

    def _write(self, name, text):
        with open(f"{self.folder}/{name}", "w", encoding="ascii") as file:
            file.write(text)

    def compiled(self, source, *flags):
        """A BPF object, compiled the first time."""
        path = f"{self.folder}/{os.path.basename(source)}{''.join(flags)}.o"
        if not os.path.exists(path):
            part = f"{path}.{unique('part')}"
            include = f"-I/usr/include/{os.uname().machine}-linux-gnu"
            require("clang", "-target", "bpf", "-mcpu=v3", "-g", "-O2", include, *flags, "-c", source, "-o", part)
            os.rename(part, path)
        return path

    @contextlib.contextmanager
    def network(self, path, control="cubic"):
        """A path, with TCP's congestion control for both ends."""
        near, far = unique("c"), unique("s")
        if path == "loopback":
            far = near
        with contextlib.ExitStack() as stack:
            for name in dict.fromkeys((near, far)):
                stack.callback(remove, "ip", "netns", "del", name)
                require("ip", "netns", "add", name)
                require("ip", "-n", name, "link", "set", "lo", "up")
                # Else a connection starts with what earlier ones have learnt.
                require(*inside(name, "sysctl", "-qw", "net.ipv4.tcp_no_metrics_save=1"))
            if path == "loopback":
                ends = ("127.0.0.1", "lo", 52)
            elif path == "veth":
                ends = veth(near, far)
            else:
                ends = stack.enter_context(self._wan(path, near, far))
            if control in CONTROLS:
                for name in dict.fromkeys((near, far)):
                    set_control(name, ends[1], control)
            # They end with their input, so when the bench is killed, too.
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL}
            witnesses = {name: stack.enter_context(started(inside(name, "cat"), **pipes)) for name in (near, far)}
            wait_until(
                lambda: all(is_inside(process.pid, name) for name, process in witnesses.items()), "nsenter didn't start"
            )
            yield Network(path, near, far, *ends, witnesses, self)

    @contextlib.contextmanager
    def _wan(self, path, near, far):
        kind = "tun" if path.startswith("tun") else "tap"
        rate, *buffer = (LINE, "1", LINE_BUFFER) if path.startswith("line") else (0,)
        words = (self.wan, near, far, str(round_trip(path) * 500), str(rate), "0", kind, *map(str, buffer))
        with started(words, stdout=subprocess.PIPE) as wan:
            if wan.stdout.readline() != "ready\n":
                raise Missing("wan.c didn't start")
            fast = (near, far) if rate == 0 else ()
            for name, option in itertools.product(fast, ("rmem=4096 131072", "wmem=4096 16384")):
                # 200 MB/s over 150 ms need 30 MB of window.
                require(*inside(name, "sysctl", "-qw", f"net.ipv4.tcp_{option} 134217728"))
            yield "10.78.0.2", "wan0", 52 if kind == "tun" else 66


def is_inside(pid, namespace):
    return os.path.samefile(f"/proc/{pid}/ns/net", f"/run/netns/{namespace}")


def veth(near, far):
    require("ip", "-n", near, "link", "add", "m0", "type", "veth", "peer", "name", "m0", "netns", far)
    for name, address in ((near, "10.99.0.1"), (far, "10.99.0.2")):
        require("ip", "-n", name, "link", "set", "m0", "up")
        require("ip", "-n", name, "address", "add", f"{address}/24", "dev", "m0")
    return "10.99.0.2", "m0", 66


def set_control(namespace, device, control):
    """By routes, as a namespace can't set any default."""
    table = "local" if device == "lo" else "main"
    for route in require("ip", "-n", namespace, "-4", "route", "show", "table", table, "dev", device).splitlines():
        if not route.startswith("broadcast"):
            words = (*route.split(), "dev", device, "table", table, "congctl", control)
            require("ip", "-n", namespace, "route", "replace", *words)


# Servers


@contextlib.contextmanager
def server(network, port, *words, **options):
    """A process that listens at the far end."""

    def listens():
        for name in ("tcp", "tcp6"):
            with open(f"/proc/{process.pid}/net/{name}", encoding="ascii") as table:
                if any(f":{port:04X} " in line and " 0A " in line for line in table):
                    return True
        return False

    with started(network.there(*words), **options) as process:
        wait_until(lambda: process.poll() is not None or listens(), f"{words[0]} doesn't listen")
        if process.poll() is not None:
            raise Missing(f"{words[0]} doesn't start")
        yield process


def quiet_server(network, port, *words):
    return server(network, port, *words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def web(network):
    return quiet_server(network, HTTP, "nginx", "-e", "stderr", "-c", f"{network.shared.folder}/nginx.conf")


def rsync_daemon(network):
    words = ("--daemon", "--no-detach", f"--port={RSYNC}", f"--config={network.shared.folder}/rsyncd.conf")
    return quiet_server(network, RSYNC, "rsync", *words)


# Cgroups


def own_cgroup():
    """The folder of the cgroup v2 that we are in."""
    with open("/proc/mounts", encoding="utf-8") as mounts:
        top = next((words[1] for words in map(str.split, mounts) if words[2] == "cgroup2"), None)
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        path = next((line[3:].strip() for line in file if line.startswith("0::")), None)
    if not top or path is None:
        raise Missing("no cgroup v2")
    return top + path.rstrip("/")


@contextlib.contextmanager
def cgroup():
    """A cgroup, as its folder and the words which start a command in it."""
    folder = f"{own_cgroup()}/{unique('g')}"
    os.mkdir(folder)
    try:
        yield folder, ["sh", "-c", f'echo $$ >{folder}/cgroup.procs && exec "$@"', "sh"]
    finally:
        with contextlib.suppress(Missing):
            wait_until(lambda: _is_removed(folder), f"{folder} is still in use")
        _is_removed(folder)


def _is_removed(folder):
    with contextlib.suppress(OSError):
        for name in (entry.path for entry in os.scandir(folder) if entry.is_dir()):
            _is_removed(name)
        os.rmdir(folder)
    return not os.path.exists(folder)


@contextlib.contextmanager
def pinned(program):
    """The programs of a BPF object, loaded and pinned, as their folder."""
    folder = f"{BPF}/{unique('p')}"
    try:
        os.mkdir(folder)
        require("bpftool", "prog", "loadall", program, folder)
        yield folder
    finally:
        remove("rm", "-rf", folder)


# What is left


def sweep():
    """Removes what is left of this bench, and of those that were killed."""
    for name in _left_in("/run/netns"):
        pids = subprocess.run(("ip", "netns", "pids", name), check=False, capture_output=True, text=True).stdout.split()
        remove("kill", "-KILL", *pids)
        remove("ip", "netns", "del", name)
    for folder in (BPF, tempfile.gettempdir(), MEMORY):
        for name in _left_in(folder):
            remove("rm", "-rf", f"{folder}/{name}")
    for name in _left_in(own_cgroup()):
        _is_removed(f"{own_cgroup()}/{name}")


def _left_in(folder):
    matches = (re.match(r"bench-(\d+)-", name) for name in (os.listdir(folder) if os.path.isdir(folder) else ()))
    return [found.string for found in matches if found and (found[1] == str(os.getpid()) or not _lives(found[1]))]


def _lives(pid):
    return os.path.exists(f"/proc/{pid}")
