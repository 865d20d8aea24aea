"""The leverage of a share of poisoned completions, as a table and as PNG and SVG.

Draws the functions of `leverage`; knows no run. The axes are those of the paper's Figs. 7 and 8.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import PercentFormatter
from rich.table import Table

from swarmproof.measure.leverage import (
    VARIANCE,
    best_count,
    expected_leverage,
    leverage,
    simulated_leverage,
)
from swarmproof.report.curves import FAINT, INK, STYLE
from swarmproof.report.palette import arm_styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GROUP_SIZES = (12, 16, 24, 32)
HONEST_MEANS = (0.0, 0.25, 0.5, 0.75)
MAX_SIZES = 5  # more lines in one panel are hard to tell apart
MAX_SIZE = 256
_MAX_POINTS = 33  # of a simulated line
_DOTTED = (0, (1, 1.5))
ONE_IN = (4, 6, 12)  # shares of the table: the paper's swarms with one malicious node


def table(group_sizes: Sequence[int] = GROUP_SIZES, accuracy: float = 0.0) -> Table:
    """The best count for each group size, and the leverage there and at some common shares.

    Args:
        group_sizes: 1 to 5 sizes, of 2 to 256.
        accuracy: share of right answers among the honest completions. The numbers are exact
            expectations.

    Raises:
        ValueError: a number is out of its bounds.
    """
    _check(group_sizes)
    rows = Table(title=f"leverage, honest accuracy {accuracy:g}", title_justify="left")
    for heading in ("group", "best", "leverage", *(f"at 1/{n}" for n in ONE_IN)):
        rows.add_column(heading, justify="right")
    for size in group_sizes:
        best = best_count(size, accuracy)
        cells = [f"{size}", f"{best} of {size}", f"{expected_leverage(size, best, accuracy):.3f}"]
        for n in ONE_IN:
            count = max(1, round(size / n))
            cells.append(f"{expected_leverage(size, count, accuracy):.3f} ({count})")
        rows.add_row(*cells)
    return rows


def draw(
    out: Path, group_sizes: Sequence[int] = GROUP_SIZES, variance: float = VARIANCE
) -> list[Path]:
    """Write `theory.png` and `theory.svg` into the folder `out`, made if missing; their paths.

    Args:
        out: the folder.
        group_sizes: 1 to 5 sizes, of 2 to 256; the right panel shows the first.
        variance: variance of the normal honest rewards in the right panel.

    Raises:
        ValueError: a number is out of its bounds.
        OSError: the folder cannot be written.
    """
    drawn = figure(group_sizes, variance)
    out.mkdir(parents=True, exist_ok=True)
    png, vector = out / "theory.png", out / "theory.svg"
    buffer = io.StringIO()
    with matplotlib.rc_context(STYLE):
        drawn.savefig(png, dpi=120, metadata={"Software": None})
        drawn.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    vector.write_text(buffer.getvalue(), encoding="utf-8")
    return [png, vector]


def figure(group_sizes: Sequence[int] = GROUP_SIZES, variance: float = VARIANCE) -> Figure:
    """Left: honest rewards of 0, by group size. Right: other honest rewards, first group size."""
    _check(group_sizes)
    with matplotlib.rc_context(STYLE):
        layout = ConstrainedLayoutEngine(wspace=0.06, w_pad=0.06, h_pad=0.06)
        fig = Figure(figsize=(10.6, 3.6), layout=layout)
        by_size, by_mean = fig.subplots(1, 2)
        _draw_sizes(by_size, group_sizes)
        _draw_means(by_mean, group_sizes[0], variance)
    return fig


def _draw_sizes(axes: Axes, group_sizes: Sequence[int]) -> None:
    styles = arm_styles(f"G = {size}" for size in group_sizes)
    for size, (label, style) in zip(group_sizes, styles.items(), strict=True):
        counts = np.arange(size + 1)
        values = [leverage(size, c) for c in counts.tolist()]
        axes.plot(
            counts / size, values, color=style.colour, label=label,
            linewidth=1.3, marker=style.marker, markersize=3, markeredgewidth=0, clip_on=False,
            zorder=3,
        )  # fmt: skip
    _finish(axes, "The others earn nothing")
    axes.legend(frameon=False, loc="lower center")


def _draw_means(axes: Axes, size: int, variance: float) -> None:
    counts = np.unique(np.linspace(0, size, min(size + 1, _MAX_POINTS)).round().astype(int))
    shares = counts / size
    styles = arm_styles(f"µ = {mean:g}" for mean in HONEST_MEANS)
    for mean, (label, style) in zip(HONEST_MEANS, styles.items(), strict=True):
        colour = style.colour
        found = [simulated_leverage(size, c, mean, variance=variance) for c in counts.tolist()]
        axes.plot(
            shares, [estimate.mean for estimate in found], color=colour, label=label,
            linewidth=1.6, clip_on=False, zorder=3,
        )  # fmt: skip
        low, high = np.array([estimate.ci95 for estimate in found]).T
        axes.fill_between(shares, low, high, color=colour, alpha=0.16, linewidth=0)
        exact = [expected_leverage(size, c, mean) for c in counts.tolist()]
        axes.plot(
            shares, exact, color=colour, linewidth=1.1, linestyle=_DOTTED,
            clip_on=False, zorder=3,
        )  # fmt: skip
    axes.plot([], [], color=INK, linewidth=1.6, label="normal rewards")
    axes.plot([], [], color=INK, linewidth=1.1, linestyle=_DOTTED, label="rewards 0 or 1")
    _finish(axes, f"The others earn µ on average, G = {size}")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1.02), borderpad=0)


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontweight="bold", fontsize=11, pad=10)
    axes.set_xlabel("share poisoned, c/G")
    axes.set_ylabel("leverage, A · c/G")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 0.55)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    axes.spines["left"].set_visible(False)
    axes.grid(axis="y", color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)


def _check(group_sizes: Sequence[int]) -> None:
    if not 1 <= len(group_sizes) <= MAX_SIZES or len(set(group_sizes)) < len(group_sizes):
        raise ValueError(f"{len(group_sizes)} group sizes: give 1 to {MAX_SIZES} different ones")
    for size in group_sizes:
        if not 2 <= size <= MAX_SIZE:
            raise ValueError(f"a group of {size}: give a size of 2 to {MAX_SIZE}")
