"""SVG plots, by hand: panels side by side with axes, units and a legend, for light and dark."""

import math

from transfers import RATES

LIGHT = {"paper": "#fff", "ink": "#1f2328", "quiet": "#656d76", "grid": "#d8dee4", "one": "#0969da", "two": "#bc4c00"}
DARK = {"paper": "#0d1117", "ink": "#e6edf3", "quiet": "#8d96a0", "grid": "#30363d", "one": "#58a6ff", "two": "#f0883e"}


def colours(scheme):
    """Rules, not variables, which not every renderer knows."""
    rules = {
        ".paper": "fill: {paper}",
        "text": "fill: {ink}",
        ".quiet": "fill: {quiet}",
        ".grid": "stroke: {grid}",
        ".limit": "stroke: {quiet}",
        ".line0": "stroke: {one}",
        ".line1": "stroke: {two}",
        ".dot0": "fill: {one}",
        ".dot1": "stroke: {two}",
    }
    return " ".join(f"{name} {{ {rule.format(**scheme)} }}" for name, rule in rules.items())


STYLE = f"""
text {{ font: 12px system-ui, sans-serif }} .quiet {{ font-size: 11px }} .name {{ font-weight: 600 }}
.title {{ font-size: 15px; font-weight: 600 }} .limit {{ stroke-dasharray: 4 3 }}
.dot1 {{ fill: none; stroke-width: 1.6 }}
.line0, .line1 {{ fill: none; stroke-width: 1.6; stroke-linejoin: round }}
{colours(LIGHT)}
@media (prefers-color-scheme: dark) {{ {colours(DARK)} }}
"""
MARGIN = 16


def escaped(text):
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def label(x, y, text, anchor="start", kind="", more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}" {more}>{escaped(text)}</text>'


class Axis:
    """Turns values into pixels; those beyond its ends stay at them."""

    def __init__(self, ticks, is_log=False, names=None):
        self.ticks, self.is_log = ticks, is_log
        self.names = names or [f"{tick:g}" for tick in ticks]

    def share(self, value):
        low, high = self.ticks[0], self.ticks[-1]
        if self.is_log:
            low, high, value = (math.log10(max(number, 1e-9)) for number in (low, high, value))
        return min(1, max(0, (value - low) / (high - low)))


class Panel:
    """One diagram: its frame, its axes, and what is drawn in it."""

    def __init__(self, name, across, up, width, height):
        self.name, self.across, self.up, self.width, self.height = name, across, up, width, height
        self.parts = []

    def place(self, x, y):
        return self.across.share(x) * self.width, (1 - self.up.share(y)) * self.height

    def line(self, points, number=0):
        self.parts.append(
            f'<polyline class="line{number}" points="'
            + " ".join(f"{x:.1f},{y:.1f}" for x, y in (self.place(*point) for point in points))
            + '"/>'
        )

    def dot(self, x, y, number=0, told=""):
        x, y = self.place(x, y)
        self.parts.append(
            f'<circle class="dot{number}" cx="{x:.1f}" cy="{y:.1f}" r="3"><title>{escaped(told)}</title></circle>'
        )

    def level(self, value, kind="limit"):
        _, y = self.place(self.across.ticks[0], value)
        self.parts.append(f'<line class="{kind}" x1="0" x2="{self.width}" y1="{y:.1f}" y2="{y:.1f}"/>')

    def drawn(self, left, top, has_left, has_bottom):
        lines = []
        for tick, name in zip(self.up.ticks, self.up.names):
            _, y = self.place(self.across.ticks[0], tick)
            lines.append(f'<line class="grid" x1="0" x2="{self.width}" y1="{y:.1f}" y2="{y:.1f}"/>')
            if has_left:
                lines.append(label(-6, y + 4, name, "end", "quiet"))
        for tick, name in zip(self.across.ticks, self.across.names):
            x, _ = self.place(tick, self.up.ticks[0])
            lines.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{self.height}"/>')
            if has_bottom:
                lines.append(label(x, self.height + 16, name, "middle", "quiet"))
        lines.append(label(0, -6, self.name, kind="name"))
        return f'<g transform="translate({left:.1f} {top:.1f})">' + "".join(lines + self.parts) + "</g>"


def figure(title, across, up, panels, legend=(), columns=4):
    """An SVG of panels that share their axes. `legend`: names of the series, numbered from 0."""
    width, height = panels[0].width, panels[0].height
    columns = min(columns, len(panels))
    rows = math.ceil(len(panels) / columns)
    left, gap, step, head = MARGIN + 44, 18, height + 34, 62 if legend else 40
    whole = max(left + columns * (width + gap), MARGIN + 8.8 * len(title)) + MARGIN
    tall = head + 12 + rows * step + 24
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole:.0f} {tall}" width="{whole:.0f}" role="img">',
        f"<title>{escaped(title)}</title><style>{STYLE}</style>",
        f'<rect class="paper" width="{whole}" height="{tall}"/>',
        label(MARGIN, 26, title, kind="title"),
    ]
    x = MARGIN
    for number, name in enumerate(legend):
        mark = f'<circle class="dot{number}" cx="{x + 6}" cy="43" r="4"/>'
        parts += [mark, label(x + 16, 47, name)]
        x += 34 + 7 * len(name)
    for i, panel in enumerate(panels):
        row, column = divmod(i, columns)
        is_last = i + columns >= len(panels)
        parts.append(panel.drawn(left + column * (width + gap), head + 16 + row * step, column == 0, is_last))
    parts.append(label(left + columns * (width + gap) / 2, tall - 12, across, "middle", "quiet"))
    middle = head + rows * step / 2
    parts.append(label(MARGIN, middle, up, "middle", "quiet", f'transform="rotate(-90 {MARGIN} {middle:.0f})"'))
    return "\n".join(parts) + "\n</svg>\n"


# What is plotted

LIMIT_TICKS = Axis([5e4, 5e5, 5e6, 5e7, 2e8], True, ["50k", "500k", "5M", "50M", ""])


def rate_over_time(results, limiters, path, direction, rate="5M"):
    """What crossed the link, 100 ms by 100 ms, with one flow of cubic."""
    chosen = {"section": "tcp", "path": path, "direction": direction, "rate": rate, "control": "cubic", "flows": "1"}
    series = {
        row["limiter"]: row["series"]
        for row in results
        if row.get("series") and all(row[key] == value for key, value in chosen.items())
    }
    if not series:
        return None
    seconds = max(1, math.ceil(max(map(len, series.values())) / 10))
    panels = []
    for limiter in (name for name in limiters if name in series):
        panel = Panel(limiter, Axis(list(range(seconds + 1))), Axis([0, 0.5, 1, 1.5, 2, 2.5]), 190, 110)
        panel.level(1)
        panel.line([(i / 10 + 0.05, value) for i, value in enumerate(series[limiter])])
        over = max(series[limiter])
        if over > 2.5:
            panel.parts.append(label(panel.width, -6, f"up to {over:.1f}", "end", "quiet"))
        panels.append(panel)
    way = "Download" if direction == "down" else "Upload"
    title = f"{way} at {rate}B/s over {path}: rate on the link, by limiter"
    return figure(title, "seconds", "rate / limit, of each 100 ms", panels)


def by_limit(results, limiters, key, axis, title, unit):
    """One figure of all TCP cells, against their limits."""
    panels = []
    for limiter in limiters:
        rows = [row for row in results if row["limiter"] == limiter and row["section"] == "tcp" and key in row]
        panel = Panel(limiter, LIMIT_TICKS, axis, 190, 120)
        panel.level(1 if key == "steady" else axis.ticks[0])
        for row in rows:
            number = ("down", "up").index(row["direction"])
            beside = 10 ** (0.06 if number else -0.06)
            told = f"{row['path']}, {row['control']}, {row['flows']} flows: {row[key]:.3f}"
            panel.dot(RATES[row["rate"]] * beside, max(axis.ticks[0], row[key]), number, told)
        panels += [panel] if rows else []
    across = "limit, bytes per second; the last is 200M"
    return figure(title, across, unit, panels, ("download", "upload")) if panels else None


def scaling(results):
    """Cost of throttle's programs for each packet, and throughput, against how many there are."""
    panels = []
    for kind, title in (("runs", "runs"), ("sockets", "sockets of the run"), ("programs", "programs of others")):
        rows = [row for row in results if row["section"] == "scaling" and row["control"] == kind and "inside /s" in row]
        rows.sort(key=lambda row: int(row["flows"]))
        if len(rows) < 2:
            continue
        counts = [int(row["flows"]) for row in rows]
        across = Axis([max(1, count) for count in counts], True, [str(count) for count in counts])
        panel = Panel(title, across, Axis([0, 0.25, 0.5, 0.75, 1, 1.25]), 230, 160)
        for number, key in ((0, "inside /s"), (1, "beside /s")):
            panel.line([(max(1, count), row[key] / rows[0][key]) for count, row in zip(counts, rows)], number)
        for index, (count, row) in enumerate(zip(counts, rows)):
            for number, key in ((0, "inside /s"), (1, "beside /s")):
                panel.dot(max(1, count), row[key] / rows[0][key], number, f"{count}: {row[key]:,.0f} /s")
            if "ns/packet" in row:
                x, _ = panel.place(max(1, count), 0)
                anchor = "start" if count == counts[0] else "end" if count == counts[-1] else "middle"
                # In turns, as neighbours may be near.
                panel.parts.append(label(x, 152 - index % 2 * 14, f"{row['ns/packet']:,.0f} ns", anchor, "quiet"))
        panels.append(panel)
    if not panels:
        return None
    title = "Scaling of throttle: throughput, and ns per packet in its programs"
    legend = ("inside of the run", "beside it")
    return figure(title, "how many", "throughput / that of the first", panels, legend, 3)


def all_plots(results, limiters):
    """By file name; those for which there are cells."""
    ratios = Axis([0.5, 0.75, 1, 1.25, 1.5])
    shares = Axis([0.1, 1, 10, 100, 1000], True, ["≤0.1", "1", "10", "100", "1000"])
    got = "TCP, all paths: rate that the application got (beyond the frame: at its edge)"
    again = "TCP, all paths: segments sent again, per thousand"
    plots = {
        "error": by_limit(results, limiters, "steady", ratios, got, "rate / limit"),
        "loss": by_limit(results, limiters, "retransmits ‰", shares, again, "per thousand"),
        "scaling": scaling(results),
    }
    for path in ("veth", "wan60"):
        for direction in ("down", "up"):
            plots[f"rate-{path}-{direction}"] = rate_over_time(results, limiters, path, direction)
    return {f"bench-{name}.svg": plot for name, plot in plots.items() if plot}
