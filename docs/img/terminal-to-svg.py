#!/usr/bin/env python3
"""Makes an SVG picture of a terminal.

    tmux capture-pane -e -p | python3 docs/img/terminal-to-svg.py "orch up devmode.yaml" > docs/img/up.svg

Reads lines with SGR colours from standard input; the argument is the title. Standard library only.
"""

import re
import sys
import unicodedata
from html import escape

CELL_WIDTH, LINE_HEIGHT, FONT_SIZE = 7.8, 17, 13
MARGIN, BAR = 14, 30
BACKGROUND, FOREGROUND, EDGE = "#16181d", "#d5d9e0", "#2b2f38"
COLORS = ["#5c6370", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#d5d9e0"]
BRIGHT = ["#7f8796", "#f08a92", "#b4dc97", "#f0d59a", "#85c4ff", "#d99aec", "#7fd0da", "#ffffff"]


class Style:
    """The colours and weights that are set."""

    def __init__(self):
        self.color, self.bold, self.dim = None, False, False

    def take(self, codes):
        """Takes the numbers of one SGR sequence; what it doesn't know, it leaves out."""
        for code in [int(code) for code in codes.split(";") if code] or [0]:
            if code == 0:
                self.__init__()
            elif code == 1:
                self.bold = True
            elif code == 2:
                self.dim = True
            elif code == 22:
                self.bold = self.dim = False
            elif 30 <= code <= 37:
                self.color = COLORS[code - 30]
            elif code == 39:
                self.color = None
            elif 90 <= code <= 97:
                self.color = BRIGHT[code - 90]

    def attributes(self):
        """As SVG writes them."""
        written = f' fill="{self.color}"' if self.color else ""
        written += ' font-weight="bold"' if self.bold else ""
        return written + (' opacity="0.6"' if self.dim else "")


def width(text):
    """How many cells a text takes."""
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text)


def line_to_svg(line, style, y):
    """One line, each run of one style at its own place, so that no font can push it out of its column."""
    parts, column = [], 0
    for index, piece in enumerate(re.split(r"\x1b\[([0-9;]*)m", line)):
        if index % 2:
            style.take(piece)
        elif piece:
            cells = width(piece)
            if piece.strip():
                lead = len(piece) - len(piece.lstrip())
                text, start = piece.strip(), column + lead
                length = width(text) * CELL_WIDTH
                parts.append(
                    f'<text x="{MARGIN + start * CELL_WIDTH:.1f}" y="{y}" textLength="{length:.1f}"'
                    f' lengthAdjust="spacingAndGlyphs" xml:space="preserve"{style.attributes()}>{escape(text)}</text>'
                )
            column += cells
    return "\n".join(parts), column


def main():
    title = sys.argv[1] if len(sys.argv) > 1 else ""
    lines = sys.stdin.read().rstrip("\n").split("\n")
    style, rows, columns = Style(), [], 0
    for index, line in enumerate(lines):
        row, used = line_to_svg(line, style, BAR + MARGIN + index * LINE_HEIGHT + FONT_SIZE - 2)
        rows.append(row)
        columns = max(columns, used)
    wide = round(columns * CELL_WIDTH + 2 * MARGIN)
    high = BAR + len(lines) * LINE_HEIGHT + 2 * MARGIN
    dots = "".join(f'<circle cx="{18 + 16 * i}" cy="15" r="5" fill="{EDGE}"/>' for i in range(3))
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}" height="{high}"')
    print(f' font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, \'DejaVu Sans Mono\', monospace"')
    print(f' font-size="{FONT_SIZE}" fill="{FOREGROUND}" role="img">')
    print(f"<title>{escape(title)}</title>")
    print(f'<rect width="{wide}" height="{high}" rx="8" fill="{BACKGROUND}" stroke="{EDGE}"/>{dots}')
    print(f'<text x="{wide / 2:.0f}" y="19" text-anchor="middle" opacity="0.6">{escape(title)}</text>')
    print("\n".join(row for row in rows if row))
    print("</svg>")


if __name__ == "__main__":
    main()
