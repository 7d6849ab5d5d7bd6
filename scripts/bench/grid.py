"""Which cells are measured."""

import contextlib
import itertools
import socket

from limiters import CONTROLLED, LIMITERS, OWN, WRAPPERS
from links import CONTROLS, PATHS

PARTS = ("section", "path", "direction", "rate", "control", "flows", "limiter")
TCP_RATES = ("50k", "500k", "5M", "50M", "200M")
BOTH = ("down", "up")
# Sections of which several cells at once don't disturb each other, and rates.
HARMLESS = ("tcp", "fairness", "udp", "datagrams", "flood", "quic", "short", "reach", "groups")
FLOODS = ("0.5", "1", "1.5", "5")
LOW = ("50k", "100k", "200k", "500k", "1M", "2M", "5M")


def cells(size):
    """The names of the cells of a grid: "quick", "default" or "full"."""
    grid = {"quick": _quick, "default": _default, "full": _full}[size]()
    return list(dict.fromkeys("/".join(cell) for cell in grid if _exists(*cell)))


def needs_machine(name):
    section, _, _, rate, control, *_ = name.split("/")
    floods = section in ("datagrams", "flood") and (rate == "5M" or control.startswith("0x"))
    return section not in HARMLESS or rate not in LOW or floods


def _exists(section, _path, direction, _rate, control, flows, limiter):
    """Not every tool does everything."""
    if direction == "up" and limiter in ("wget", "aria2"):
        return False
    if section == "tcp" and flows != "1" and limiter in ("wget", "curl", "rsync"):
        return False  # curl's limit is each transfer's
    if section == "datagrams" and control.startswith("block") and limiter in ("none", "trickle"):
        return False
    # Nothing has several uploads that trickle limits, and under it iperf3 -R fails.
    if limiter in CONTROLLED:
        return _controls(limiter)
    return limiter != "trickle" or (direction, flows) == ("up", "1") or (section != "udp" and direction == "down")


def _controls(name):
    """Whether the kernel has a congestion control, or a module of it."""
    with socket.socket() as any_socket, contextlib.suppress(OSError):
        any_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name.encode())
        return True
    return False


def _product(section, paths, directions, rates, controls, flows, limiters):
    return itertools.product((section,), paths, directions, rates, controls, flows, limiters)


def _quick():
    yield from _product("tcp", ("veth",), ("down",), ("500k", "5M"), ("cubic",), ("1",), LIMITERS)
    yield from _product("tcp", ("wan60",), BOTH, ("5M",), ("cubic",), ("1",), LIMITERS)
    yield from _product("tcp", ("veth",), ("down",), ("50M",), ("cubic",), ("1",), ("none", "throttle", "tbf"))
    yield from _product("reach", ("veth",), ("down",), ("1M",), ("static", "tree"), ("1",), ("throttle", "trickle"))
    yield from _product("udp", ("veth",), ("up",), ("500k",), ("udp",), ("1",), ("throttle", "trickle"))
    yield from _product("latency", ("veth",), ("down",), ("500k",), ("cubic",), ("1",), ("throttle", "curl", "htb"))
    yield from _product("startup", ("veth",), ("down",), ("1M",), ("true",), ("1",), ("none", *WRAPPERS))
    yield from _product("packets", ("veth",), ("down",), ("100G",), ("udp64",), ("1",), ("throttle",))
    yield from _product("scaling", ("veth",), ("down",), ("100G",), ("runs",), ("1", "20"), ("throttle",))


def _default():
    all_of_them = ("none", *LIMITERS)
    yield from _product("tcp", ("veth", "wan60"), BOTH, TCP_RATES[:4], ("cubic",), ("1",), all_of_them)
    yield from _product("tcp", ("veth",), BOTH, ("200M",), ("cubic",), ("1",), all_of_them)
    yield from _product("tcp", ("loopback", "wan20", "wan150"), BOTH, ("5M",), ("cubic",), ("1",), LIMITERS)
    yield from _product("tcp", ("veth", "wan60"), BOTH, ("500k", "5M"), ("bbr",), ("1",), WRAPPERS)
    yield from _product("tcp", ("veth",), BOTH, ("5M",), ("cubic",), ("4",), LIMITERS)
    yield from _product("tcp", ("wan60",), BOTH, ("5M",), ("cubic",), ("16",), LIMITERS)
    yield from _product("tcp", ("tun60",), ("down",), ("100k", "2M"), ("cubic",), ("4",), ("none", *OWN))
    yield from _product("udp", ("veth", "wan60"), BOTH, ("500k",), ("udp",), ("1",), WRAPPERS)
    yield from _datagrams()
    yield from _product("quic", ("wan60",), BOTH, ("500k",), ("cubic",), ("1",), OWN)
    yield from _product("short", ("veth",), ("down",), ("200k",), ("cubic",), ("1",), LIMITERS)
    yield from _product("reach", ("veth",), ("down",), ("1M",), ("static", "tree"), ("1",), WRAPPERS)
    yield from _product("latency", ("wan60",), ("down",), ("500k",), ("cubic",), ("1",), LIMITERS)
    yield from _product("groups", ("veth",), BOTH, ("500k", "5M"), ("cubic",), ("1", "4", "16"), OWN)
    yield from _situations()
    yield from _costs(("1", "10", "50", "200"), ("1", "100", "1000", "10000"), ("0", "8", "30", "60"))


def _datagrams():
    """Controls: how many times the limit by datagrams of how many bytes; "block" is senders that wait in sendto()."""
    veth, wrappers = (("veth",), ("up",)), (*OWN, "htb")
    controls = ("1x1200", "2x1200", "5x1200", "5x200")
    yield from _product("datagrams", *veth, ("500k", "5M"), controls, ("1",), ("none", *wrappers))
    yield from _product("datagrams", *veth, ("500k", "5M"), ("5x1200",), ("1",), ("trickle",))
    yield from _product("datagrams", *veth, ("200k", "20M"), ("5x1200", "5x200"), ("1",), wrappers)
    yield from _product("datagrams", *veth, ("500k", "20M"), ("5x1200",), ("8",), wrappers)
    yield from _product("datagrams", *veth, ("5M",), ("0x1200",), ("1",), wrappers)
    yield from _product("datagrams", *veth, ("500k", "5M", "20M"), ("block1200",), ("1",), wrappers)
    yield from _product("datagrams", *veth, ("500k",), ("block1200",), ("8",), wrappers)
    yield from _product("datagrams", ("loopback",), ("up",), ("5M",), ("5x1200",), ("1",), OWN)
    yield from _product("flood", *veth, ("500k", "5M"), FLOODS, ("1",), wrappers)
    yield from _product("quic", *veth, ("500k",), ("cubic",), ("1",), OWN)


def _situations():
    """A slow network, the background, and what runs already."""
    peers = ("throttle", "netem")
    yield from _product("slow", ("veth",), ("down",), ("100G",), ("rtt100",), ("1",), peers)
    yield from _product("slow", ("veth",), ("down",), ("500k",), ("rtt300",), ("1",), peers)
    yield from _product("slow", ("veth",), BOTH, ("100G",), ("loss5",), ("1",), peers)
    yield from _product("background", ("line40",), BOTH, ("2.5M",), ("cubic",), ("1",), ("none", "throttle"))
    yield from _product("background", ("line40",), ("down",), ("2.5M",), ("cubic",), ("1",), CONTROLLED)
    yield from _product("attach", ("veth",), BOTH, ("1M",), ("cubic",), ("1", "8"), ("throttle",))


def _all_datagrams():
    rates, flows = ("200k", "500k", "5M", "20M"), ("1", "8")
    controls = ("0x1200", "block1200", *(f"{multiple}x{size}" for multiple in (1, 2, 5) for size in (200, 1200)))
    limiters = ("none", *OWN, "htb", "trickle")
    yield from _product("datagrams", ("veth", "loopback"), ("up",), rates, controls, flows, limiters)
    yield from _product("flood", ("veth", "wan60"), ("up",), ("500k", "5M"), FLOODS, ("1",), (*OWN, "htb"))


def _costs(runs, sockets, programs):
    yield from _product("bystander", ("veth",), ("down",), ("500k",), ("udp64",), ("1",), ("throttle", "police", "htb"))
    yield from _product("unlimited", ("veth",), ("down",), ("100G",), ("cubic",), ("1",), OWN)
    yield from _product("unlimited", ("veth",), ("down",), ("100G",), ("udp64",), ("1",), (*OWN, "tbf", "htb", "hbm"))
    yield from _product("packets", ("veth",), BOTH, ("100G",), ("udp64",), ("1",), ("throttle", "hbm"))
    yield from _product("packets", ("veth",), ("up",), ("5M",), ("udp64",), ("1",), OWN)
    yield from _product("packets", ("veth",), ("up",), ("500k",), ("others64",), ("1",), ("throttle",))
    yield from _product("startup", ("veth",), ("down",), ("1M",), ("true",), ("1",), ("none", *WRAPPERS))
    timed, limiters = ("connect", "file", "others"), ("none", *OWN, "trickle")
    yield from _product("connect", ("veth",), ("down",), ("100M",), timed, ("1", "122"), limiters)
    yield from _product("connect", ("veth",), ("down",), ("50k",), ("runs",), ("200",), ("throttle",))
    yield from _product("scaling", ("veth",), ("down",), ("100G",), ("runs",), runs, ("throttle",))
    yield from _product("scaling", ("loopback",), ("down",), ("100G",), ("sockets",), sockets, ("throttle",))
    yield from _product("scaling", ("veth",), ("down",), ("100G",), ("programs",), programs, ("throttle",))


def _full():
    for path in PATHS:
        yield from _product("tcp", (path,), BOTH, TCP_RATES, CONTROLS, ("1", "4", "16"), ("none", *LIMITERS))
        if path in ("veth", "wan60"):
            yield from _product("udp", (path,), BOTH, ("50k", "500k", "5M"), ("udp",), ("1",), WRAPPERS)
            yield from _product("quic", (path,), BOTH, ("50k", "500k", "2M"), ("cubic",), ("1",), OWN)
            yield from _product("fairness", (path,), BOTH, ("5M",), CONTROLS, ("8",), OWN)
            rates = ("50k", "500k", "5M", "50M")
            yield from _product("groups", (path,), BOTH, rates, ("cubic",), ("1", "4", "16"), OWN)
            yield from _product("latency", (path,), ("down",), ("500k",), ("cubic",), ("1",), LIMITERS)
    yield from _all_datagrams()
    yield from _default()
    yield from _product(
        "bystander", ("veth",), BOTH, ("500k",), ("cubic", "udp64"), ("1",), (*OWN, "tbf", "htb", "hbm")
    )
    yield from _product(
        "unlimited", ("veth",), BOTH, ("100G",), ("cubic", "udp64"), ("1",), (*OWN, "tbf", "htb", "hbm")
    )
    yield from _product("reach", ("veth", "wan60"), ("down",), ("1M",), ("static", "tree"), ("1",), WRAPPERS)
