"""Values to hover over in the SVG of a panel: a transparent column per iteration with a title.

A browser shows the titles without any script; the page's script shows them at once.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Show = Callable[[float], str]

MAX_COLUMNS = 250  # beyond this, a column stands for several iterations and shows the first


def add(svg: str, axes: Axes, values: Mapping[str, pd.Series[float]], show: Show) -> str:
    """The SVG with the columns above its lines.

    Args:
        svg: of the axes' figure, which has been drawn.
        values: arm -> round -> value.
        show: writes a value.
    """
    columns = "".join(_columns(axes, values, show))
    end = svg.rindex("</svg>")
    return f'{svg[:end]}<g class="hover">{columns}</g>\n{svg[end:]}'


def _columns(axes: Axes, values: Mapping[str, pd.Series[float]], show: Show) -> list[str]:
    rounds = sorted({int(number) for series in values.values() for number in series.index})
    step = -(-len(rounds) // MAX_COLUMNS) or 1
    shown = rounds[::step]
    fig = axes.get_figure(root=True)
    assert fig is not None
    width, height = (72 * inches for inches in fig.get_size_inches())
    box = axes.get_position()
    first, last = axes.get_xlim()

    def x(iteration: float) -> float:
        return float(width * (box.x0 + box.width * (iteration - first) / (last - first)))

    found = []
    for i, number in enumerate(shown):
        # From halfway to the one before to halfway to the one behind.
        before = shown[i - 1] if i else number - step
        after = shown[i + 1] if i + 1 < len(shown) else number + step
        left, right = x(1 + (before + number) / 2), x(1 + (number + after) / 2)
        lines = [f"iteration {number + 1}"] + [
            f"{arm}: {show(float(series[number]))}"
            for arm, series in values.items()
            if number in series.index
        ]
        found.append(
            f'<rect x="{left:.1f}" y="{height * (1 - box.y1):.1f}" width="{right - left:.1f}" '
            f'height="{height * box.height:.1f}" fill-opacity="0">'
            f"<title>{html.escape(chr(10).join(lines))}</title></rect>"
        )
    return found
