"""What a bench writes: bench.json, bench.md and plots, all from the results; nothing is typed by hand."""

import datetime
import json
import os
import platform
import shutil
import statistics
import subprocess

import plots
from grid import PARTS
from limiters import DESCRIPTIONS, LIMITERS, OTHERS, OWN
from links import ROOT
from slow import NO_NETEM
from transfers import NO_AIOQUIC

# What throttle shall reach: ratios to the limit, or to the same without a run; a count; and of the section connect, ms
# more than without a run.
GOALS = {
    "steady": (0.95, 1.05),
    "first second": (0, 1.25),
    "Jain": (0.9, 1),
    "ratio": (0.95, 9),
    "without queue": (0, 0),
    "foreground": (0.8, 9),
    "meanwhile": (0, 0.2),
    "back ms": (0, 1000),
}
MOST_MORE = {
    ("connect", "throttle"): ("more ms", 25),
    ("connect", "police"): ("more ms", 2),
    ("file", "throttle"): ("more ms", 45),
    ("others", "throttle"): ("max more ms", 30),
    ("others", "police"): ("max more ms", 30),
}
# Of what waits in a queue for uploads, which `police` doesn't have.
QUEUE_GOALS = {
    "lost ‰": (0, 1),
    "link": (0.97, 1.03),
    "longest wait ms": (0, 400),
    "TCP": (0.3, 0.75),
    "TCP retransmits": (0, 0),
}
# Differences of less are noise: as a share, and in the row's own unit.
NOISE = 0.1


def text(value):
    if isinstance(value, list):
        return "–".join(text(part) for part in value)
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}" if abs(value) < 1000 else f"{value:,.0f}"
    return "" if value is None else str(value).replace("|", "/").replace("\n", " ")


def words(result):
    return ", ".join(f"{key} {text(value)}" for key, value in result.items() if key != "series")


def table(header, rows):
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    return "\n".join(lines + ["| " + " | ".join(text(cell) for cell in row) + " |" for row in rows])


# The summary


def median_error(rows, key="steady"):
    return statistics.median(abs(row[key] - 1) * 100 for row in rows)


def worst_error(rows, key="steady"):
    return max(abs(row[key] - 1) * 100 for row in rows)


def median_overshoot(key):
    return lambda rows: statistics.median(max(0.0, row[key] - 1) * 100 for row in rows)


def worst_overshoot(key):
    return lambda rows: max(max(0.0, row[key] - 1) * 100 for row in rows)


def median_of(key, scale=1):
    return lambda rows: statistics.median(row[key] for row in rows) * scale


def worst_of(key, scale=1):
    return lambda rows: max(row[key] for row in rows) * scale


def one_flow(row):
    return row["section"] == "tcp" and row["control"] == "cubic" and row["flows"] == "1"


def section(name, control=None, direction=None):
    def chosen(row):
        given = ((control, row["control"]), (direction, row["direction"]))
        return row["section"] == name and all(wanted in (None, found) for wanted, found in given)

    return chosen


def connect(control, devices):
    return lambda row: section("connect", control)(row) and row["flows"] == str(devices)


def down(row):
    return one_flow(row) and row["direction"] == "down"


def up(row):
    return one_flow(row) and row["direction"] == "up"


def over_limit(row):
    """UDP of which more is sent than the limit."""
    return row["section"] == "datagrams" and not row["control"].startswith(("1x", "block"))


def beside_flood(row):
    return row["section"] == "flood" and row["control"] != "0.5"


def worst_short(key, whole=1):
    return lambda rows: max(max(0.0, 1 - row[key] / whole) * 100 for row in rows)


def worst_more(key, usual):
    return lambda rows: max(max(0.0, row[key] - row[usual]) for row in rows)


def many_flows(row):
    return row["flows"] in ("4", "16") and not over_tun(row)


def over_tun(row):
    return row["path"].startswith("tun")


FIRST, WORST = "link first second", "link worst 100 ms"
# Name, cells, the key that they need, what becomes of them, the least difference that counts. Less is better in all.
PROGRAMS = ("programs ns", worst_of("programs ns"), 10)
MEASURES = (
    ("download: error of the rate, median %", down, "steady", median_error, 0.5),
    ("download: error of the rate, worst %", down, "steady", worst_error, 1),
    ("upload: error of the rate, median %", up, "steady", median_error, 0.5),
    ("upload: error of the rate, worst %", up, "steady", worst_error, 1),
    ("application, first second: overshoot, median %", one_flow, "first second", median_overshoot("first second"), 3),
    ("application, first second: overshoot, worst %", one_flow, "first second", worst_overshoot("first second"), 5),
    ("link, first second: overshoot, median %", one_flow, FIRST, median_overshoot(FIRST), 3),
    ("link, first second: overshoot, worst %", one_flow, FIRST, worst_overshoot(FIRST), 5),
    ("link, worst 100 ms: overshoot, median %", one_flow, WORST, median_overshoot(WORST), 5),
    ("link, worst 100 ms: overshoot, worst %", one_flow, WORST, worst_overshoot(WORST), 10),
    ("sent again ‰, median", one_flow, "retransmits ‰", median_of("retransmits ‰"), 0.1),
    ("sent again ‰, worst", one_flow, "retransmits ‰", worst_of("retransmits ‰"), 1),
    ("processor s/GB, whole machine, median", one_flow, "cpu s/GB", median_of("cpu s/GB"), 0.1),
    ("4 and 16 connections: error, worst %", many_flows, "steady", worst_error, 1),
    ("download over tun: error of the rate, worst %", over_tun, "steady", worst_error, 1),
    ("download over tun: sent again ‰, worst", over_tun, "retransmits ‰", worst_of("retransmits ‰"), 1),
    ("1 MB at 200 kB/s, start included: error %", section("short"), "steady", median_error, 0.5),
    (
        "request while at the limit, inside, ms",
        section("latency"),
        "inside median ms",
        median_of("inside median ms"),
        1,
    ),
    (
        "request while at the limit, beside, ms",
        section("latency"),
        "beside median ms",
        median_of("beside median ms"),
        1,
    ),
    ("UDP upload: error of the rate, worst %", section("udp", direction="up"), "steady", worst_error, 1),
    *(
        (f"UDP upload, more than the limit: {what}", over_limit, key, combined, least)
        for what, key, combined, least in (
            ("error of the link's rate, median %", "link", lambda rows: median_error(rows, "link"), 0.5),
            ("error of the link's rate, worst %", "link", lambda rows: worst_error(rows, "link"), 1),
            ("lost on the way ‰, median", "lost ‰", median_of("lost ‰"), 0.1),
            ("lost on the way ‰, worst", "lost ‰", worst_of("lost ‰"), 1),
            ("from sending to receipt, median ms", "delay median ms", median_of("delay median ms"), 1),
        )
    ),
    ("QUIC upload: packets lost, worst", section("quic", direction="up"), "lost", worst_of("lost"), 10),
    (
        "UDP upload: longest wait of a sender, ms",
        section("datagrams"),
        "longest wait ms",
        worst_of("longest wait ms"),
        10,
    ),
    ("TCP beside UDP at the limit or more: short of half by %, worst", beside_flood, "TCP", worst_short("TCP", 0.5), 5),
    (
        "TCP beside UDP at the limit or more: segments sent again, worst",
        beside_flood,
        "TCP retransmits",
        worst_of("TCP retransmits"),
        1,
    ),
    ("static program: error of the rate, %", section("reach", "static"), "steady", worst_error, 1),
    ("four processes: error of the rate, %", section("reach", "tree"), "steady", worst_error, 1),
    ("start-up, ms more than without", section("startup"), "more ms", median_of("more ms"), 0.5),
    *(
        (f"{what}, {devices} device(s): ms more", connect(control, devices), key, worst_of(key), least)
        for what, control, key, least in (
            ("connect()", "connect", "more ms", 0.5),
            ("100 kB by curl", "file", "more ms", 1),
            ("others' longest wait for the RTNL lock", "others", "max more ms", 3),
        )
        for devices in (1, 122)
    ),
    ("of 200 runs at once, without a queue", section("connect", "runs"), "without queue", worst_of("without queue"), 1),
    ("memory of its processes, peak, MB", section("startup"), "peak kB", median_of("peak kB", 1e-3), 0.5),
    ("memory of its own, MB", section("startup"), "private kB", median_of("private kB", 1e-3), 0.2),
    ("packets of 64 bytes a second, fewer by %", section("unlimited", "udp64"), "fewer %", median_of("fewer %"), 3),
    ("BPF programs for each packet that comes in, ns", section("packets", "udp64", "down"), *PROGRAMS),
    ("BPF programs for each packet that goes out, ns", section("packets", "udp64", "up"), *PROGRAMS),
    ("others' packets of 64 bytes, fewer by %", section("bystander", "udp64"), "fewer %", median_of("fewer %"), 3),
    *(
        (f"slow network: {what}, worst %", section("slow"), key, worst_of(key), least)
        for what, key, least in (
            ("error of a connect()'s 100 ms", "connect error %", 1),
            ("error of an echo's 100 ms", "echo error %", 1),
            ("error of the 5 % that are lost", "lost error %", 5),
        )
    ),
    ("slow network: error of the rate with 300 ms, %", section("slow"), "steady", worst_error, 1),
    *(
        (f"in the background: {what}, worst", section("background"), key, combined, least)
        for what, key, combined, least in (
            ("seconds to half of the line", "ramp s", worst_of("ramp s"), 0.5),
            ("line unused while alone, %", "alone", worst_short("alone"), 3),
            ("foreground slower than alone by %", "foreground", worst_short("foreground"), 3),
            ("share of the line beside a foreground, %", "meanwhile", worst_of("meanwhile", 100), 3),
            ("seconds to half of the line after a foreground", "back s", worst_of("back s"), 0.5),
            *(
                (f"request beside it, {part}: ms more", f"request beside {part} ms", more, 5)
                for part in ("median", "95 %")
                for more in (worst_more(f"request beside {part} ms", f"request idle {part} ms"),)
            ),
        )
    ),
    *(
        (f"limited while running: {what}, worst", section("attach"), key, combined, least)
        for what, key, combined, least in (
            ("ms until the speed has gone", "attach ms", worst_of("attach ms"), 5),
            ("first second, overshoot %", "first second", worst_overshoot("first second"), 5),
            ("error of the rate then, %", "steady", worst_error, 1),
            ("ms to a tenth of the speed afterwards", "back ms", worst_of("back ms"), 50),
        )
    ),
)


def with_differences(results):
    """Adds what is a difference to the same without a limiter."""
    bare = {key_of(row): row for row in results if row["limiter"] == "none"}
    for row in results:
        without = bare.get(key_of(row), {})
        if "median ms" in row and "median ms" in without:
            row["more ms"] = max(0.0, row["median ms"] - without["median ms"])
            row["max more ms"] = max(0.0, row["max ms"] - without["max ms"])
        if "ratio" in row:
            row["fewer %"] = max(0.0, (1 - row["ratio"]) * 100)
    return results


def key_of(row):
    return tuple(row[part] for part in PARTS[:-1])


def comparison(results, measure, limiters):
    """A measure of each limiter, and of throttle in the same cells as each: not all have the same."""
    _, chosen, key, combined, _ = measure
    rows = {}
    for row in results:
        if chosen(row) and key in row:
            rows.setdefault(row["limiter"], {})[key_of(row)] = row
    own = rows.get("throttle", {})
    values, same = {}, {}
    for limiter in limiters:
        found = rows.get(limiter, {})
        if found:
            values[limiter] = combined(list(found.values()))
        shared = [cell for cell in found if cell in own]
        if shared and limiter not in OWN:
            same[limiter] = [combined([of[cell] for cell in shared]) for of in (found, own)]
    return values, same


def summary(results, limiters):
    rows, better = [], []
    for measure in MEASURES:
        name, least = measure[0], measure[4]
        values, same = comparison(results, measure, limiters)
        if not values:
            continue
        best = min((value for limiter, value in values.items() if limiter != "none"), default=None)
        shown = {limiter: text(values.get(limiter)) for limiter in limiters}
        bold = [limiter for limiter, word in shown.items() if word == text(best) and limiter != "none"]
        rows.append([name] + [f"**{word}**" if limiter in bold else word or "–" for limiter, word in shown.items()])
        for limiter, (theirs, ours) in same.items():
            if limiter != "none" and ours - theirs > max(least, NOISE * ours):
                better.append(f"- {name}: {limiter} {text(theirs)}, throttle {text(ours)}")
    return table(["", *limiters], rows), better


def nearer_cells(results):
    """Cells in which a peer's rate is nearer to the limit than throttle's by more than a hundredth."""
    own = {key_of(row): row for row in results if row["limiter"] == "throttle" and "steady" in row}
    found, total = [], 0
    for row in results:
        ours = own.get(key_of(row))
        if row["limiter"] in (*OWN, "none") or "steady" not in row or ours is None:
            continue
        total += 1
        if abs(ours["steady"] - 1) - abs(row["steady"] - 1) > 0.01:
            found.append(f"- {name_of(row)}: {row['steady']:.3f}, throttle {ours['steady']:.3f}")
    return found, total


def name_of(row):
    return "/".join(row[part] for part in PARTS)


# Goals


def may_wait(result):
    return result["limiter"] == "throttle" and result["section"] in ("datagrams", "flood")


def missed(result):
    """Goals that a cell missed."""
    aims = GOALS | (QUEUE_GOALS if may_wait(result) else {})
    found = [
        f"{name} {result[name]:.3f}"
        for name, (least, most) in aims.items()
        if result.get(name) is not None and not least <= result[name] <= most
    ]
    key, most = MOST_MORE.get((result["control"], result["limiter"]), (None, 0))
    if result["section"] == "connect" and result.get(key, 0) > most:
        found.append(f"{key} {result[key]:.3f}")
    return found + ([result["missing"]] if "missing" in result else [])


def goals(results):
    own = [row for row in results if row["limiter"] in OWN and row.get("missing") not in (NO_AIOQUIC, NO_NETEM)]
    lines = [f"- {name_of(row)}: {', '.join(missed(row))}" for row in own if missed(row)]
    return [f"Goals missed in {len(lines)} of {len(own)} cells of throttle.", "", *lines]


# The documents


def details(results):
    parts = []
    for name in dict.fromkeys(row["section"] for row in results):
        rows = [row for row in results if row["section"] == name]
        hidden = ("section", "series")
        columns = [key for key in dict.fromkeys(key for row in rows for key in row) if key not in hidden]
        if "missing" in columns:  # last
            columns.append(columns.pop(columns.index("missing")))
        body = table(columns, [[row.get(column) for column in columns] for row in rows])
        parts.append(f"<details><summary>{name}: {len(rows)} cells</summary>\n\n{body}\n\n</details>")
    return parts


def first_words(*command):
    if not shutil.which(command[0]):
        return f"{command[0]}: not installed"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return " ".join((done.stdout or done.stderr).strip().partition("\n")[0].split()[:3])


def versions(binary):
    commands = [("wget", "--version"), ("curl", "--version"), ("rsync", "--version")]
    commands += [("aria2c", "--version"), ("trickle", "-V"), ("iperf3", "--version"), ("tc", "-V"), ("nginx", "-v")]
    return [f"throttle {first_words(binary, '--version')}"] + [first_words(*command) for command in commands]


def about(options, seconds, busy_before):
    commit = first_words("git", "-C", ROOT, "rev-parse", "--short", "HEAD")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit,
        "grid": " ".join(options.cells) or options.size,
        "seconds": round(seconds),
        "kernel": platform.release(),
        "processors busy before": f"{busy_before:.0%}",
        "machine": f"{os.cpu_count()} processors ({platform.machine()}), {memory:.0f} GB",
        "versions": versions(options.binary),
        "binary MB": round(os.path.getsize(options.binary) / 1e6, 1),
    }


EXPLANATION = """\
Rates are compared with the limit. What the application got (`steady`) counts once the transfer is steady. What crossed
the link is counted by the receiver's device, each 20 ms: it has in it what was sent again, what is dropped behind the
link, and what waits in the receiver's queue or buffer. Of a tool's download the application's part is what it has
written, of its upload what the link carried. tc's limits count frames, so 4 to 5 % less payload comes in.

The wan paths are two TAP devices with a delay between them (`wan.c`), and lose nothing; tun paths are the same with
devices without Ethernet, as VPNs have them. On veth a queue at the receiver holds the sender back too, as the sender's
buffer stays full meanwhile. On loopback segments of both ends count as sent. TCP is iperf3's; that of tools, processes
and the static program comes from nginx or goes to a sink. The static program (`raw.c`) has no libc and makes its own
system calls, as Go's programs do; Go itself would be 330 MB to install.

connect() is that of a small program (`connect.c`) which does nothing else; the file's time is from the command's
start to its end. Both are medians. Who waits for the RTNL lock changes lo's MTU each millisecond while a run begins,
connects and ends: it is the longest wait in all runs, less that without a limiter. Devices are veth, in the client's
network namespace. Whether a run has a queue is what its report says.

Datagrams are `iperf3 -u`'s, at so many times the limit (0: all that goes) by datagrams of so many bytes. `received` has
what the limit had unused when they began, `steady` hasn't. What the receiver missed was lost on the way or in its own
socket's buffer, which the kernel counts. How long a datagram takes is from the time that iperf3 writes into it, just
before it sends it, to its arrival at the receiver's device (`delays.c`). iperf3 waits in select() until half of its
buffer is free; "block" are senders that wait in sendto() instead. TCP beside UDP is what comes from its second second to its end, while
UDP goes on; had it to try again to connect, it comes too late. A packet that waits passes `throttle_hold` twice and
`throttle_back` once.

Slow networks are asked of `--rtt` and `--loss` on veth, and take a kernel with netem, but for losses. Connects and
echoes are medians. What is lost are datagrams of one direction, of 50,000; by chance that is 2 % of the 5 % more or
less.

In the background is an iperf3 (of `none`: any other one) on a line of 20 Mbit/s, with a round trip of 40 ms and a
buffer of 200 ms, in which it is alone at first; then another one comes for 8 s, which has been there alone before.
Rates are what their receivers have read, so 4.4 % of the line are headers. A request is a byte over a new connection
of others, and back, while it has the line: more than before it came. It has half of the line, at first and when it is
back, once it moved that over half a second; 15 s are that much or more.

What is limited while it runs is an iperf3 at full speed, by `throttle run -p` at 1 MB/s for 4 s. The speed is gone
when its receiver, looked at each 5 ms, doesn't read a twentieth of it any more, and then the first second begins. It
is back when a tenth was reached over 50 ms, from throttle's end on: on few processors the full speed falls to a fifth
by itself.

Up to 5 MB/s several cells are measured at a time, all else alone, as are datagrams from 5 MB/s. Processor time is the whole machine's, of cells that
were alone, with all that sends, receives and carries.
"""


def markdown(results, header, images):
    limiters = [name for name in ("none", *LIMITERS, *OTHERS) if has_figures(results, name)]
    compared, better = summary(results, limiters)
    nearer, total = nearer_cells(results)
    missing = dict.fromkeys(f"{row['limiter']}: {row['missing']}" for row in results if "missing" in row)
    parts = [
        "# Bench",
        "Written by `make bench`; see `scripts/bench`. Raw results: [bench.json](bench.json).",
        table(
            ["", ""], [(key, ", ".join(value) if isinstance(value, list) else value) for key, value in header.items()]
        ),
        "\n".join(f"- {name}: {DESCRIPTIONS[name]}" for name in limiters),
        "## Side by side",
        "Less is better in all rows. The best is bold; not all limiters have the same cells.",
        compared,
        EXPLANATION,
        "## Where a peer did better",
        "By more than a tenth and what is noise. The figures are of the cells that both have.",
        "\n".join(better) or "Nowhere, in the rows above.",
        f"In {len(nearer)} of {total} cells a peer's rate was nearer to the limit by more than a hundredth:",
        "\n".join(nearer) or "None.",
        "## Plots",
        "\n\n".join(f"![{name}]({name})" for name in images),
        "## Goals",
        "\n".join(goals(results)),
        "## What gave no figures",
        "\n".join(f"- {line}" for line in missing) or "Nothing.",
        "## All cells",
        *details(results),
    ]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def has_figures(results, limiter):
    return any(row["limiter"] == limiter and "missing" not in row for row in results)


def compact(value):
    """Four digits are more than are exact."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    return [compact(part) for part in value] if isinstance(value, list) else value


def write(options, results, seconds, busy_before):
    header, results = about(options, seconds, busy_before), with_differences(results)
    os.makedirs(options.output, exist_ok=True)
    limiters = [name for name in (*LIMITERS, *OTHERS) if has_figures(results, name)]
    drawn = plots.all_plots(results, limiters)
    cells = ",\n".join(json.dumps({key: compact(value) for key, value in row.items()}) for row in results)
    files = dict(drawn)
    files["bench.json"] = f'{{"about": {json.dumps(header)},\n"cells": [\n{cells}\n]}}\n'
    files["bench.md"] = markdown(results, header, list(drawn))
    for name, content in files.items():
        with open(f"{options.output}/{name}", "w", encoding="utf-8") as file:
            file.write(content)
    print("\n\n".join(details(results)) if options.cells else summary(results, ["none", *limiters])[0])
    print("\n" + "\n".join(goals(results)))
    print(f"\n{len(results)} cells in {seconds:.0f} s: {options.output}/bench.md")
