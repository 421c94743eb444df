"""Where texts stand above a figure, each beside or over a line that rises from its point.

Places are found for the narrowest figure. As a text keeps to its own point, and those of points to
the right keep to the right, what is free of another there is so in a wider figure too.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, product

# Pixels: of a letter, between a line and its text, and between two texts.
_LETTER, _BESIDE, _APART = 7.4, 5, 8
# Letters in a line of text, and lines of it that are shown.
_MOST_LETTERS, _MOST_ROWS = 16, 4
# Points of which all ways to place their texts are tried.
_MOST_TRIED = 6


@dataclass(frozen=True)
class Flag:
    """A text and its place.

    Attributes:
        x: Its point, in pixels from the left edge.
        rows: The lines of the text.
        begin: Pixels from its point to its left edge, less than 0 to the left.
        lane: How many lines of texts there are below it.
    """

    x: float
    rows: tuple[str, ...]
    begin: float
    lane: int = 0

    @property
    def end(self) -> float:
        """Pixels from its point to its right edge."""
        return self.begin + _length(self.rows)

    @property
    def top(self) -> int:
        """How many lines of texts there are below its upper edge."""
        return self.lane + len(self.rows)

    @property
    def is_over(self) -> bool:
        """Whether it stands over its line, and not beside it."""
        return self.begin <= 0 <= self.end

    @property
    def anchor(self) -> tuple[str, float]:
        """Which end of the text is placed, ``left``, ``center`` or ``right``, and where."""
        # Letters are narrower than they are taken to be: the nearest end is nearest to the line.
        if self.begin == -self.end:
            return "center", 0.0
        return ("left", self.begin) if abs(self.begin) < abs(self.end) else ("right", self.end)


def flags(points: Sequence[tuple[float, str]], *, width: float) -> list[Flag]:
    """Place a text for each point so that none covers another, or the line of another.

    The lowest of such places are taken. Where points are so near, or so many, that there are none,
    texts are above each other, and may cover lines.

    Args:
        points: Pixels from the left edge, and text.
        width: Of the figure, in pixels.

    >>> [(flag.lane, flag.begin < 0) for flag in flags([(100, "one"), (110, "two")], width=200)]
    [(0, True), (0, False)]
    """
    order = sorted(range(len(points)), key=lambda i: points[i][0])
    ways = [_ways(*points[i], width) for i in order]
    tries = map(_stacked, product(*ways) if len(ways) <= _MOST_TRIED else ())
    best = min(filter(None, tries), key=lambda found: max(f.top for f in found), default=None)
    if best is None:
        lanes = accumulate((len(way[-1].rows) for way in ways), initial=0)
        best = [replace(way[-1], lane=lane) for way, lane in zip(ways, lanes, strict=False)]
    return [flag for _, flag in sorted(zip(order, best, strict=True), key=lambda pair: pair[0])]


def _ways(x: float, text: str, width: float) -> list[Flag]:
    """Return a text to the left of its line, to the right, as far as there is room, and over it."""
    found = textwrap.wrap(text, _MOST_LETTERS, max_lines=_MOST_ROWS, placeholder=" …")
    rows = tuple(found) or ("",)
    length = _length(rows)
    beside = [b for b in (-_BESIDE - length, _BESIDE) if 0 <= x + b <= width - length]
    over = max(min(-length / 2, width - x - length), -x)
    return [Flag(x, rows, begin) for begin in (*beside, over)]


def _stacked(found: Sequence[Flag]) -> list[Flag] | None:
    """Return flags, from the left one to the right one, as low as they can be.

    None if a text would cover a line or another text, however high they are.
    """
    below: list[set[int]] = [set() for _ in found]
    for j, right in enumerate(found):
        for i, left in enumerate(found[:j]):
            gap = right.x - left.x
            if left.end > gap:  # the right line ends below the left text, or would cross it
                below[i].add(j)
            if -right.begin > gap or (left.end + _APART > gap + right.begin and left.end <= gap):
                below[j].add(i)
    lanes = [0] * len(found)
    for _ in range(len(found) + 1):
        before = lanes
        tops = [lane + len(flag.rows) for lane, flag in zip(lanes, found, strict=True)]
        lanes = [max((tops[i] for i in under), default=0) for under in below]
    if lanes != before:  # one is below itself
        return None
    return [replace(flag, lane=lane) for flag, lane in zip(found, lanes, strict=True)]


def _length(rows: Sequence[str]) -> float:
    return _LETTER * max(map(len, rows))
