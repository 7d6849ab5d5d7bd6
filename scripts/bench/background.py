"""A flow that shall take only what nobody else wants of a line: how well it uses the line alone, what a foreground and
requests lose to it, and how soon it is back."""

import contextlib
import statistics
import time

from costs import IPERF_2
from limiters import CONTROLLED
from links import LINE, quiet_server
from meters import Samples, at, taken
from processes import Missing, pause, quietly, wait_until
from slow import echo_server, echoes
from transfers import IPERF

# Seconds from half of the line on until it is steady; of the phases; and the most that half of the line is waited for.
SETTLING, ALONE, FOREGROUND, MOST = 2, 5, 8, 15
CLIENTS = 4
TURN = 0.5


def background(options, network, cell):
    """Rates are of what the receiver has read. A request is a byte over a connection of its own, and back."""
    wrapper = [options.binary, "run", "--background", "--"] if cell.limiter == "throttle" else []
    control = cell.limiter if cell.limiter in CONTROLLED else cell.control
    with echo_server(network):
        result = requests("idle", echoes(network, 2, clients=CLIENTS))
        usual, *_ = foreground(network, cell)
        with flow(network, cell, IPERF, 90, control, wrapper) as (client, came), Samples(came=came) as own:
            wait_until(lambda: came() > 2000, "nothing came")
            result["ramp s"] = time_to(own, time.monotonic(), LINE / 2, TURN, MOST)
            pause(SETTLING)
            began = time.monotonic()
            result |= requests("beside", echoes(network, ALONE, clients=CLIENTS))
            ended = time.monotonic()
            rate, first, last, over = foreground(network, cell)
            back = time_to(own, over, LINE / 2, TURN, MOST)
            if client.poll() is not None:
                raise Missing("the flow in the background ended")
    column = own.clocked("came")
    result |= {"alone": speed(column, began, ended) / LINE, "foreground": rate / usual}
    return result | {"meanwhile": speed(column, first, last) / LINE, "back s": back}


@contextlib.contextmanager
def flow(network, cell, port, seconds, control, wrapper=()):
    """Yields an iperf3, and what tells how much has come to its receiver."""
    words = ["iperf3", "-c", network.address, "-p", str(port), "-t", str(seconds), "-C", control]
    words += ["-R"] if cell.direction == "down" else []
    with (
        quiet_server(network, port, "iperf3", "-s", "-p", str(port)) as serving,
        quietly(network.here(*wrapper, *words)) as client,
    ):
        receiver = client if cell.direction == "down" else serving
        yield client, lambda: taken(receiver.pid)


def foreground(network, cell):
    """What it gets a second from its second second on, from when to when that was, and when the last of it came."""
    with flow(network, cell, IPERF_2, FOREGROUND, "cubic") as (client, came), Samples(came=came) as samples:
        client.wait(FOREGROUND + 20)
    column = samples.clocked("came")
    grown = [now for (_, before), (now, after) in zip(column, column[1:]) if after > before + 1000]
    if not grown:
        raise Missing("no foreground")
    first, last = grown[0] + 2, grown[0] + FOREGROUND - 0.5
    return speed(column, first, last), first, last, grown[-1]


def speed(column, began, ended):
    return (at(column, ended) - at(column, began)) / (ended - began)


def time_to(samples, began, enough, turn, most):
    """Seconds until enough came for a turn, or the most that is waited for."""
    while (now := (column := samples.clocked("came"))[-1][0]) < began + most:
        if now > began + turn and speed(column, now - turn, now) > enough:
            return now - began
        pause(0.01)
    return float(most)


def requests(name, found):
    times = found[1]
    return {
        f"request {name} median ms": statistics.median(times),
        f"request {name} 95 % ms": statistics.quantiles(times, n=20)[-1],
    }
