"""How a group's runs share its budget."""

import contextlib
import json
import os
import time

from limiters import OWN, peer_servers, tool_words
from meters import link_payload, settling
from processes import Missing, pause, quietly, require, wait_until
from transfers import RATES, duration


def groups(options, network, cell):
    """Runs that transfer all they can at once: what the link carried over the budget, and how equal the runs' parts
    are, as they count them."""
    limit, seconds, runs = RATES[cell.rate], duration(options, cell), int(cell.flows)
    name = f"bench-{os.getpid()}-{network.near}"
    wrapper = [options.binary, "run", "-g", name, f"--{cell.direction}={limit}", *OWN[cell.limiter], "--"]
    words = tool_words("curl", network, cell.direction, None)
    receiver = network.receiver(cell.direction)
    with contextlib.ExitStack() as stack:
        stack.enter_context(peer_servers(network, "curl", cell.direction))
        started = [stack.enter_context(quietly(network.here(*wrapper, *words))) for _ in range(runs)]

        def passed():
            reports = [json.loads(require(options.binary, "stats", str(run.pid), "--json")) for run in started]
            key = "download" if cell.direction == "down" else "upload"
            return [(report["elapsed_seconds"], report[key]["passed_payload_bytes"]) for report in reports]

        def all_transfer():
            # Some have not begun yet, or sent no report.
            with contextlib.suppress(Missing, ValueError):
                return all(count > 1000 for _, count in passed())
            return False

        wait_until(all_transfer, "not all runs transfer")
        pause(settling(cell.path) + 1)
        before, began = passed(), time.monotonic()
        sent = link_payload(network, receiver)
        pause(max(seconds, 30 if limit / runs < 10_000 else 0))
        carried, elapsed = link_payload(network, receiver) - sent, time.monotonic() - began
        after = passed()
    rates = [(b - a) / (u - t) for (t, a), (u, b) in zip(before, after)]
    jain = sum(rates) ** 2 / len(rates) / sum(rate * rate for rate in rates)
    return {"steady": sum(rates) / limit, "link": carried / elapsed / limit, "Jain": jain}
