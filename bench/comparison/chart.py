# SPDX-License-Identifier: Apache-2.0
"""Horizontal bars on a logarithmic axis, as SVG."""

import html
import math

from .figures import geometric_mean

WIDTH = 760
LABEL_WIDTH = 150
RIGHT = 60
BAR = 9
GROUP_GAP = 8
TOP_HEIGHT = 64
COLORS = {"lockstep": "#1f6f8b", "qemu": "#d9a441", "native": "#b8c4c9"}
TITLES = {"lockstep": "Lockstep", "qemu": "QEMU (TCG)", "native": "native"}
TICKS = [0.5, 1, 2, 5, 10, 20, 50, 100, 200]


def text(x, y, words, **attributes):
    extra = "".join(f' {key.replace("_", "-")}="{value}"' for key, value in attributes.items())
    return f'<text x="{x:.1f}" y="{y:.1f}"{extra}>{html.escape(str(words))}</text>'


def rectangle(x, y, width, height, color):
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height}" rx="1" fill="{color}"/>'


def draw(title, subtitle, ways, rows):
    """rows: (name, {way: value}); values of None are left out. Bars begin at 1, or at the smallest tick below."""
    values = [value for _, row in rows for value in row.values() if value]
    low = max(tick for tick in TICKS if tick <= max(min(values + [1]), TICKS[0]))
    high = min([tick for tick in TICKS if tick >= max(values)] or [max(values)])
    high = max(high, 2 * low)
    plot = WIDTH - LABEL_WIDTH - RIGHT
    group = BAR * len(ways) + GROUP_GAP
    bottom = TOP_HEIGHT + group * len(rows)

    def at(value):
        return LABEL_WIDTH + plot * math.log(max(value, low) / low) / math.log(high / low)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{bottom + 34}" '
        f'viewBox="0 0 {WIDTH} {bottom + 34}" font-family="sans-serif" font-size="12" fill="#333">',
        f'<rect width="{WIDTH}" height="{bottom + 34}" fill="#ffffff"/>',
        text(12, 22, title, font_size=15, font_weight="bold"),
        text(12, 40, subtitle, fill="#666"),
    ]
    for tick in (tick for tick in TICKS if low <= tick <= high):
        color = "#999" if tick == 1 else "#e4e4e4"
        out.append(f'<path d="M{at(tick):.1f} {TOP_HEIGHT - 8}V{bottom}" stroke="{color}"/>')
        out.append(text(at(tick), bottom + 14, f"{tick:g} ×", text_anchor="middle", fill="#666"))
    x = WIDTH - RIGHT
    for way in reversed(ways):
        x -= 8 * len(TITLES[way]) + 22
        out.append(rectangle(x, 13, 10, 10, COLORS[way]))
        out.append(text(x + 14, 22, TITLES[way]))
    for index, (name, row) in enumerate(rows):
        y = TOP_HEIGHT + group * index
        weight = "bold" if name == "geometric mean" else "normal"
        middle = y + BAR * len(ways) / 2 + 4
        out.append(text(LABEL_WIDTH - 8, middle, name, text_anchor="end", font_weight=weight))
        for place, way in enumerate(ways):
            value = row.get(way)
            if value:
                top = y + BAR * place
                out.append(rectangle(at(low), top, at(value) - at(low), BAR - 1, COLORS[way]))
                out.append(text(at(value) + 4, top + 8, f"{value:.2f}" if value < 10 else f"{value:.0f}", font_size=9))
    out.append("</svg>")
    return "\n".join(out) + "\n"


def with_mean(rows, ways):
    means = {way: geometric_mean(row.get(way) for _, row in rows) for way in ways}
    return [*rows, ("geometric mean", means)]


def programs_chart(figures):
    """None where nothing was measured."""
    ways = ["lockstep", "qemu"]
    rows = []
    for name in figures.names("programs"):
        ratios = {way: figures.faster("native", way, name) for way in ways}
        if any(ratios.values()):
            rows.append((name, ratios))
    subtitle = "time in the guest, in times of the native time: shorter is better"
    return rows and draw("CPU programs", subtitle, ways, with_mean(rows, ways))


def guest_chart(figures):
    ways = ["lockstep", "native"]
    rows = []
    for name in figures.names("guest"):
        ratios = {way: figures.faster(way, "qemu", name) for way in ways}
        if any(ratios.values()):
            rows.append((name, ratios))
    subtitle = "speed, in times of that under QEMU's software emulation: longer is better"
    return rows and draw("Work of the whole guest", subtitle, ways, with_mean(rows, ways))
