"""What runs already is limited for a while: how soon and how exactly, and how soon it is fast again then."""

import time

from background import speed, time_to
from links import cgroup, quiet_server
from meters import Samples, taken
from processes import Missing, pause, quietly, run, wait_until
from transfers import IPERF, RATES, dropped

FULL, LIMITED, BACK = 2, 4, 3  # seconds
# Of the full speed: on few processors it falls to a fifth by itself, for half a second at a time.
ENOUGH = 0.1


def attach(options, network, cell):
    """Rates are of what the receiver has read, the limited ones from the moment at which the speed has gone."""
    limit = RATES[cell.rate]
    words = ["iperf3", "-c", network.address, "-t", str(FULL + LIMITED + BACK + 4), "-P", cell.flows]
    words += ["-R"] if cell.direction == "down" else []
    with (
        cgroup() as (_, entering),
        quiet_server(network, IPERF, "iperf3", "-s") as serving,
        quietly(network.here(*entering, *words)) as client,
    ):
        receiver = client if cell.direction == "down" else serving
        with Samples(period=0.005, came=lambda: taken(receiver.pid)) as samples:
            wait_until(lambda: taken(receiver.pid) > 1 << 20, "nothing came")
            pause(FULL)
            began = time.monotonic()
            limiting = ("-p", str(client.pid), f"--{cell.direction}={limit}", "--for", f"{LIMITED}s", "--stats=json")
            done = run(network.here(options.binary, "run", *limiting))
            if done.status != 0:
                raise Missing(f"status {done.status} {done.errors.strip()[-200:]}")
            ended, column = time.monotonic(), samples.clocked("came")
            full = speed(column, began - FULL / 2, began)
            back = time_to(samples, ended, full * ENOUGH, 0.05, BACK)
    fallen = fall(column, began, full)
    result = {"full": full, "attach ms": (fallen - began) * 1000}
    result["first second"] = speed(column, fallen, fallen + 1) / limit
    result["steady"] = speed(column, fallen + 1, began + LIMITED) / limit
    return result | {"back ms": back * 1000} | dropped(done, cell.direction)


def fall(column, began, full):
    """The end of the last sample in which a twentieth of the full speed came."""
    within = [(a, b) for a, b in zip(column, column[1:]) if began < b[0] < began + LIMITED / 2]
    fast = [b[0] for a, b in within if b[1] - a[1] > full / 20 * (b[0] - a[0])]
    if not fast or fast[-1] == within[-1][1][0]:
        raise Missing("the speed didn't fall")
    return fast[-1]
