"""Bar charts as SVG, readable on a light and on a dark page. Needs Python's own library only.

Imported by bench.py. One chart is a grid of panels, each with its own scale and its values written out, since what is
compared differs a thousandfold from one pair to the next.
"""

import dataclasses
import math
from xml.sax.saxutils import escape

COLUMNS = 3
PANEL_WIDTH = 310
LABEL_WIDTH = 104
DIGIT_WIDTH = 6.6
BAR_HEIGHT = 13
BAR_GAP = 5
TOP = 54
PANEL_HEAD = 26
MARGIN = 16
AXIS_HEIGHT = 30
TICKS_MAX = 4

STYLE = """
  text { font: 11px system-ui, sans-serif; fill: #24292f; }
  .title { font-size: 15px; font-weight: 600; }
  .head { font-size: 12px; font-weight: 600; }
  .note { fill: #57606a; }
  .bar { fill: #9aa7b5; }
  .ours { fill: #d9822b; }
  .tick { font-size: 9px; fill: #57606a; }
  .line { stroke: #57606a; stroke-width: 1; stroke-dasharray: 3 2; }
  .axis { stroke: #8c959f; stroke-width: 1; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .note, .tick { fill: #9da7b3; }
    .bar { fill: #59636e; }
    .ours { fill: #e8963f; }
    .line { stroke: #9da7b3; }
    .axis { stroke: #6e7681; }
  }
"""


@dataclasses.dataclass
class Bar:
    """One bar: what it is of, its length in the panel's unit, the text at its end."""

    label: str
    value: float
    text: str
    ours: bool = False


@dataclasses.dataclass
class Panel:
    """Bars on one scale; `unit` names its axis, and `mark`, if given, is where a dashed line stands."""

    head: str
    unit: str
    bars: list
    mark: float | None = None

    @property
    def height(self):
        return PANEL_HEAD + len(self.bars) * (BAR_HEIGHT + BAR_GAP) + AXIS_HEIGHT + MARGIN


def grid(title, note, panels):
    """An SVG of panels, three in a row."""
    columns = min(COLUMNS, len(panels))
    parts, y = [], TOP
    for start in range(0, len(panels), columns):
        row = panels[start : start + columns]
        for column, panel in enumerate(row):
            parts += draw_panel(panel, MARGIN + column * (PANEL_WIDTH + MARGIN), y, PANEL_WIDTH)
        y += max(panel.height for panel in row)
    return document(title, note, MARGIN + columns * (PANEL_WIDTH + MARGIN), y, parts)


def wide(title, note, panel):
    """An SVG of one panel over the whole width."""
    width = COLUMNS * (PANEL_WIDTH + MARGIN) - MARGIN
    return document(title, note, width + 2 * MARGIN, TOP + panel.height, draw_panel(panel, MARGIN, TOP, width))


def document(title, note, width, height, parts):
    width = max(width, 680)  # the note needs room
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(title)}">',
        f"<style>{STYLE}</style>",
        text(MARGIN, 22, title, "title"),
        text(MARGIN, 40, note, "note"),
    ]
    return "\n".join([*head, *parts, "</svg>"]) + "\n"


def draw_panel(panel, x, y, width):
    zero = x + LABEL_WIDTH
    longest = max([bar.value for bar in panel.bars] + [panel.mark or 0]) or 1
    room = max(len(bar.text) for bar in panel.bars) * DIGIT_WIDTH + 5
    scale = (width - LABEL_WIDTH - room) / longest
    parts = [text(x, y + 12, panel.head, "head")]
    top = y + PANEL_HEAD - 4
    bottom = top + len(panel.bars) * (BAR_HEIGHT + BAR_GAP)
    for index, bar in enumerate(panel.bars):
        upper = y + PANEL_HEAD + index * (BAR_HEIGHT + BAR_GAP)
        kind = "bar ours" if bar.ours else "bar"
        length = max(bar.value * scale, 1)
        parts.append(text(zero - 6, upper + 10, bar.label, "", "end"))
        parts.append(f'<rect class="{kind}" x="{zero}" y="{upper}" width="{length:.1f}" height="{BAR_HEIGHT}"/>')
        parts.append(text(zero + length + 5, upper + 10, bar.text, "note"))
    parts.append(line(zero, top, bottom, "axis"))
    if panel.mark is not None:
        parts.append(line(zero + panel.mark * scale, top, bottom, "line"))
    return parts + draw_axis(panel.unit, zero, scale, longest, bottom)


def draw_axis(unit, zero, scale, longest, y):
    """Round numbers below the bars, and the unit they count."""
    end = zero + longest * scale
    parts = [f'<line class="axis" x1="{zero}" y1="{y}" x2="{end:.1f}" y2="{y}"/>']
    for value in ticks(longest):
        parts.append(line(zero + value * scale, y, y + 3, "axis"))
        parts.append(text(zero + value * scale, y + 13, short(value), "tick", "middle"))
    return [*parts, text((zero + end) / 2, y + 25, unit, "tick", "middle")]


def ticks(longest):
    """Multiples of 1, 2 or 5 times a power of ten, from 0 to `longest`, few enough to stand apart."""
    power = 10.0 ** math.floor(math.log10(longest / TICKS_MAX))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * TICKS_MAX >= longest)
    return [index * step for index in range(int(longest / step) + 1)]


def short(value):
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def line(x, top, bottom, kind):
    return f'<line class="{kind}" x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}"/>'


def text(x, y, words, kind, anchor="start"):
    return f'<text class="{kind}" x="{x:.1f}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>'
