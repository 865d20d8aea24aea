"""One style per arm, the same in every picture and table of a report.

Twelve colours for light pages and twelve for dark ones. They were searched for on a grid so that
any two stay apart for normal vision, deuteranopia and protanopia; a test computes the distances.
The marker and the dash are a second channel: no two of the first 24 styles share both.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, count

GREY, VERMILION = 0, 1
# On white, and on the dark page. Each has a contrast of at least 3 with its page.
_COLOURS = (
    *(("#777788", "#aaaabb"), ("#dd5500", "#ff7733"), ("#0099ff", "#66aaee")),
    *(("#007755", "#ddffee"), ("#9900bb", "#7766ff"), ("#cc0044", "#ee1188")),
    *(("#112266", "#00eeff"), ("#ff33bb", "#ffcc88"), ("#663300", "#997755")),
    *(("#115566", "#228899"), ("#bb8888", "#dd9999"), ("#551122", "#ffff00")),
)
MAX_COLOURS = len(_COLOURS)
_MARKERS = ("o", "s", "^", "D", "v", "P")  # matplotlib's names
_DASHES: tuple[tuple[float, ...], ...] = ((), (5, 1.6), (1.2, 1.4), (5, 1.4, 1.2, 1.4))
# Grey for the swarm without malicious nodes, red for the one without defences.
_BY_NAME = {"no-attack": GREY, "attack": VERMILION}


@dataclass(frozen=True, slots=True)
class Style:
    colour: str  # #rrggbb, on a light page
    dark: str  # the same on a dark page
    marker: str  # matplotlib's name
    dash: tuple[float, ...]  # in line widths, on and off; empty for a solid line


def style(number: int) -> Style:
    """Style `number` from 0. Its colour is that of no other below 12, and then repeats."""
    colour, dark = _COLOURS[number % MAX_COLOURS]
    dash = _DASHES[number // len(_MARKERS) % len(_DASHES)]
    return Style(colour, dark, _MARKERS[number % len(_MARKERS)], dash)


def arm_styles(arms: Iterable[str]) -> dict[str, Style]:
    """Arm -> style, by name for `no-attack` and `attack` and by position for the others.

    No colour comes twice among up to 12 arms; after that, colours come again with another dash.
    """
    arms = list(arms)
    named = {arm: number for arm, number in _BY_NAME.items() if arm in arms}
    # First the colours of no name, so that the first ten do not depend on which names there are.
    first = [number for number in range(MAX_COLOURS) if number not in _BY_NAME.values()]
    spare = [number for number in _BY_NAME.values() if number not in named.values()]
    others = chain(first, spare, count(MAX_COLOURS))
    return {arm: style(named[arm] if arm in named else next(others)) for arm in arms}
