"""Names and values at the right ends of lines, pushed apart where they meet.

The text has the colour of the page's text, which every reader can read; beside it stands a piece of
the line with its colour, dash and marker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from matplotlib.lines import Line2D
from matplotlib.offsetbox import AnnotationBbox, DrawingArea

from swarmproof.report.palette import Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEIGHT = 0.2  # of a label, in inches
_KEY_WIDTH, _KEY_HEIGHT = 22, 8  # points


def add(axes: Axes, ends: Mapping[str, tuple[float, str]], styles: Mapping[str, Style]) -> None:
    """Label lines.

    Args:
        ends: name -> the height of its line's end, in data units, and the label's text.
    """
    low, high = axes.get_ylim()
    fig = axes.get_figure(root=True)
    assert fig is not None
    grid = axes.get_gridspec()
    rows = grid.nrows if grid is not None else 1
    # An axis is about an inch lower than its part of the figure.
    gap = HEIGHT / (fig.get_figheight() / rows - 0.9)
    wanted = [(y - low) / (high - low) for y, _ in ends.values()]
    for (name, (_, text)), place in zip(ends.items(), spread(wanted, gap), strict=True):
        style = styles[name]
        key = DrawingArea(_KEY_WIDTH, _KEY_HEIGHT)
        key.add_artist(
            Line2D(
                [0, _KEY_WIDTH / 2, _KEY_WIDTH],
                [_KEY_HEIGHT / 2] * 3,
                color=style.colour,
                linewidth=1.9,
                linestyle=(0, style.dash) if style.dash else "solid",
                marker=style.marker,
                markevery=[1],
                markersize=4.5,
                markeredgewidth=0,
            )
        )
        box = AnnotationBbox(
            key, (1, place), xybox=(6, 0), xycoords="axes fraction", boxcoords="offset points",
            box_alignment=(0, 0.5), frameon=False, pad=0, annotation_clip=False,
        )  # fmt: skip
        axes.add_artist(box)
        axes.annotate(
            text,
            (1, place),
            xycoords="axes fraction",
            xytext=(6 + _KEY_WIDTH + 5, 0),
            textcoords="offset points",
            va="center",
            annotation_clip=False,
        )


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Move places apart to at least `gap`, in order, each cluster about its own mean.

    All stay in [0, 1] if there is room; otherwise they leave it at the top.
    """
    order = sorted(range(len(places)), key=lambda i: places[i])
    clusters: list[list[int]] = []

    def start(cluster: list[int]) -> float:
        centre = sum(places[i] for i in cluster) / len(cluster)
        height = gap * (len(cluster) - 1)
        return max(0.0, min(1.0 - height, centre - height / 2))

    for i in order:
        clusters.append([i])
        while len(clusters) > 1:
            before, after = clusters[-2:]
            if start(before) + gap * len(before) <= start(after):
                break
            clusters[-2:] = [before + after]
    result = [0.0] * len(places)
    for cluster in clusters:
        for offset, i in enumerate(cluster):
            result[i] = start(cluster) + gap * offset
    return result
