"""The curves of a run, as PNG and SVG: attack success, accuracy and length over the iterations.

Reads a `Run` and its summary; knows nothing of how they came to be.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, PercentFormatter

from swarmproof.records.summary import t_interval
from swarmproof.report.palette import arm_colours

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from swarmproof.records.folder import Run

INK, FAINT = "#24292f", "#d9dce0"
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.7,
    "ytick.major.size": 0,
    "svg.fonttype": "path",
    # Element ids come from a hash; with a fixed salt the same run gives the same file.
    "svg.hashsalt": "swarmproof",
}


@dataclass(frozen=True, slots=True)
class Panel:
    metric: str  # its key in an arm of the summary; dots lead to inner tables
    column: str  # and in the frame of rounds
    title: str
    x: str = "iteration"
    y: str = ""


@dataclass(frozen=True, slots=True)
class _Row:
    """What a row of panels shows: the swarm, or the nodes of one model in it."""

    model: str | None
    arms: dict[str, Any]  # of the summary, or their numbers of this model
    rounds: pd.DataFrame


PANELS = (
    Panel("asr", "asr", "Attack success"),
    Panel("accuracy", "reward", "Accuracy"),
    Panel("length", "length", "Mean length, tokens"),
)
HELDOUT = Panel("heldout.accuracy", "heldout_accuracy", "Held-out accuracy")


def draw(run: Run, out: Path) -> list[Path]:
    """Write `curves.png` and `curves.svg` into the folder `out`; the paths of both.

    The SVG is the same bytes for the same run (and version of matplotlib).

    Raises:
        ValueError: no arm has a round yet.
        OSError: the folder cannot be written.
    """
    png, vector = out / "curves.png", out / "curves.svg"
    with matplotlib.rc_context(STYLE):
        figure(run).savefig(png, dpi=200, metadata={"Software": None})
    vector.write_text(svg(run), encoding="utf-8")
    return [png, vector]


def svg(run: Run, panels: Sequence[Panel] = PANELS, *, transparent: bool = False) -> str:
    """The curves as SVG text; `transparent` leaves the page's background visible."""
    buffer = io.StringIO()
    with matplotlib.rc_context(STYLE):
        metadata = {"Date": None, "Creator": None}
        drawn = figure(run, panels)
        drawn.savefig(buffer, format="svg", metadata=metadata, transparent=transparent)
    return buffer.getvalue()


def figure(run: Run, panels: Sequence[Panel] = PANELS) -> Figure:
    """The panels in a row, and a row more for each of several models.

    A line is the mean over seeds, its band the 95 % t interval.
    """
    arms: dict[str, Any] = run.summary["arms"]
    if not arms:
        raise ValueError("there is nothing to draw yet: no arm has finished an iteration")
    rows = _rows(run)
    layout = ConstrainedLayoutEngine(wspace=0.05, w_pad=0.06, h_pad=0.06)
    width = 11.5 if len(panels) > 1 else 5.7
    fig = Figure(figsize=(width, 3.4 * len(rows)), layout=layout)
    colours = arm_colours(arms)
    all_axes: Any = fig.subplots(len(rows), len(panels), squeeze=False)
    for row, axes_of_row in zip(rows, all_axes, strict=True):
        for axes, panel in zip(axes_of_row, panels, strict=True):
            for arm in row.arms:
                _draw_arm(axes, row, panel, arm, colours[arm])
            _finish(axes, row, panel)
            _label_ends(axes, panel, row.arms, colours)
    return fig


def _rows(run: Run) -> list[_Row]:
    """The whole swarm first, then each model, in those arms where there are several."""
    arms: dict[str, Any] = run.summary["arms"]
    found = [_Row(None, arms, run.rounds)]
    for model in dict.fromkeys(name for arm in arms.values() for name in arm.get("models", ())):
        own = {
            name: arm | arm["models"][model]
            for name, arm in arms.items()
            if model in arm.get("models", ())
        }
        found.append(_Row(model, own, run.rounds[run.rounds["cohort"] == model]))
    return found


def draw_panel(run: Run, panel: Panel, stem: Path) -> list[Path]:
    """Write one panel as `stem` with .png and .svg; the paths of both.

    Raises:
        OSError: the folder cannot be written.
    """
    png, vector = (stem.with_name(f"{stem.name}.{kind}") for kind in ("png", "svg"))
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(5.4, 3.6), layout=ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06))
        arms = run.summary["arms"]
        axes, colours = fig.subplots(), arm_colours(arms)
        row = _Row(None, arms, run.rounds)
        for arm in arms:
            _draw_arm(axes, row, panel, arm, colours[arm])
        _finish(axes, row, panel)
        _label_ends(axes, panel, arms, colours)
        fig.savefig(png, dpi=200, metadata={"Software": None})
        fig.savefig(vector, format="svg", metadata={"Date": None, "Creator": None})
    return [png, vector]


def course(arm: Mapping[str, Any], metric: str) -> Mapping[str, Any]:
    """A metric of an arm of the summary by its key, such as `heldout.accuracy`."""
    found: Any = arm
    for key in metric.split("."):
        found = found[key]
    return cast(Mapping[str, Any], found)


def _draw_arm(axes: Axes, row: _Row, panel: Panel, arm: str, colour: str) -> None:
    told = row.rounds[row.rounds["arm"] == arm].dropna(subset=[panel.column])
    weighed = told.assign(total=told[panel.column] * told["nodes"]).groupby(["round", "seed"])
    by_round = (weighed["total"].sum() / weighed["nodes"].sum()).groupby("round")
    means = by_round.mean()
    several = len(row.arms[arm]["seeds"]) > 1
    axes.plot(
        1 + means.index.to_numpy(),
        means.to_numpy(),
        color=colour,
        linewidth=1.9 if several else 1.3,
        solid_capstyle="round",
        marker="o" if len(means) == 1 else None,
        markersize=4,
        clip_on=False,
        zorder=3,
    )
    bands = []
    for number, values in by_round:
        if interval := t_interval([float(value) for value in values]):
            bands.append((1 + float(number), *interval))  # type: ignore[arg-type]
    if bands:
        x, low, high = np.array(bands).T
        if _is_share(panel, row.arms):
            low, high = low.clip(0, 1), high.clip(0, 1)
        axes.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0)


def _finish(axes: Axes, row: _Row, panel: Panel) -> None:
    arms = row.arms
    # Below one another: beside one another they are wider than the panel.
    title = panel.title if row.model is None else f"{panel.title}\n{row.model}"
    axes.set_title(title, loc="left", fontweight="bold", fontsize=11, pad=10)
    axes.set_xlabel(panel.x)
    axes.set_ylabel(panel.y)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    axes.set_xlim(1, max(2, *(arm["rounds"] for arm in arms.values())))
    axes.spines["left"].set_visible(False)
    axes.grid(axis="y", color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    if _is_share(panel, arms):
        axes.set_ylim(0, 1)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
        axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    else:
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(5))


def _label_ends(axes: Axes, panel: Panel, arms: dict[str, Any], colours: dict[str, str]) -> None:
    """Each arm's name and final value at the right of its line, pushed apart where they meet."""
    low, high = axes.get_ylim()
    share = _is_share(panel, arms)
    finals = {name: course(arm, panel.metric)["final"] for name, arm in arms.items()}
    wanted = {name: (y - low) / (high - low) for name, y in finals.items() if y is not None}
    places = spread(list(wanted.values()), gap=0.078)
    for name, place in zip(wanted, places, strict=True):
        digits = 2 if panel.metric == "asr" else 0
        value = f"{100 * finals[name]:.1f} %" if share else f"{finals[name]:.{digits}f}"
        axes.annotate(
            f"{name}  {value}",
            (1, place),
            xycoords="axes fraction",
            xytext=(6, 0),
            textcoords="offset points",
            color=colours[name],
            fontsize=9.5,
            fontweight="bold",
            va="center",
            annotation_clip=False,
        )


def _is_share(panel: Panel, arms: dict[str, Any]) -> bool:
    """Whether the panel's values are shares; an attack's own measure may be a ratio."""
    if panel.metric == "asr":
        return all(arm["asr"].get("unit", "share") == "share" for arm in arms.values())
    return panel.metric != "length"


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Move places apart to at least `gap`, in order, each cluster about its own mean.

    None leaves [0, 1] at the top, nor at the bottom, unless there is no room for all.
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
