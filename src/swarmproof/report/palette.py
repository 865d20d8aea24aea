"""One colour per arm, the same in every picture, told apart by the colour-blind too.

The hues are those of M. Okabe and K. Ito, "Color Universal Design" (2008), without its yellow,
which is too pale for a line on white.
"""

from __future__ import annotations

from collections.abc import Iterable

GREY, VERMILION = "#7a8087", "#d55e00"
_OTHERS = ("#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
# Grey for the swarm as it would be, red for the one that nothing protects.
_BY_NAME = {"no-attack": GREY, "attack": VERMILION}


def arm_colours(arms: Iterable[str]) -> dict[str, str]:
    """Arm -> `#rrggbb`, by name for the two usual arms and else by position; repeats after 5."""
    colours = {}
    num_others = 0
    for arm in arms:
        if arm in _BY_NAME:
            colours[arm] = _BY_NAME[arm]
        else:
            colours[arm] = _OTHERS[num_others % len(_OTHERS)]
            num_others += 1
    return colours
