"""The curves of a run, as PNG and SVG: attack success, accuracy and length over the iterations.

Reads a `Run` and its summary; does not compute them.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, PercentFormatter

from swarmproof.records.summary import t_interval
from swarmproof.report import hover, labels
from swarmproof.report.palette import Style, arm_styles

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from swarmproof.records.run import Run

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
_UNFINISHED = " (unfinished)"
_MANY = 6  # arms, beyond which their bands are fainter
_NUM_MARKERS = 7  # on a line, about


@dataclass(frozen=True, slots=True)
class Panel:
    metric: str  # its key in an arm of the summary; dots lead to inner tables
    column: str  # and in the frame of rounds
    title: str
    x: str = "iteration"
    y: str = ""
    unit: str | None = None  # of an attack's success: only the arms with this one; all if None


@dataclass(frozen=True, slots=True)
class _Row:
    """What a row of panels shows: the swarm, or the nodes of one model in it."""

    model: str | None
    arms: dict[str, Any]  # of the summary, or their numbers for this model
    rounds: pd.DataFrame
    planned: int  # iterations, the most of any arm


PANELS = (
    Panel("asr", "asr", "Attack success"),
    Panel("accuracy", "reward", "Accuracy"),
    Panel("length", "length", "Mean length, tokens"),
)
HELDOUT = Panel("heldout.accuracy", "heldout_accuracy", "Held-out accuracy")
_RATIO_TITLE = "Mean length over the first, ×"


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


def svg(run: Run, panels: Sequence[Panel] = PANELS) -> str:
    """The curves as SVG text."""
    with matplotlib.rc_context(STYLE):
        return _as_svg(figure(run, panels), transparent=False)


def panel_svgs(run: Run) -> list[str]:
    """Every panel as an SVG of its own, for the page: without names, with values to hover over.

    The background is transparent. First the swarm's panels, then those of each of several models.
    """
    drawn = []
    styles = arm_styles(run.summary["arms"])
    with matplotlib.rc_context(STYLE):
        for row in _rows(run):
            for panel in split((*PANELS, HELDOUT), row.arms):
                layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06)
                fig = Figure(figsize=(4.9, 2.9), layout=layout)
                axes = fig.subplots()
                _draw_panel(axes, row, panel, styles)
                text = _as_svg(fig, transparent=True)
                values = {arm: means(row.rounds, panel.column, arm) for arm in _arms(row, panel)}
                drawn.append(hover.add(text, axes, values, show=_shown(panel)))
    return drawn


def figure(run: Run, panels: Sequence[Panel] = PANELS) -> Figure:
    """The panels in a row, and one more row for each of several models.

    A line is the mean over seeds, its band the 95 % t interval. Shares and ratios never share an
    axis: where arms have both kinds of attack success, there are two panels.
    """
    arms: dict[str, Any] = run.summary["arms"]
    rows = _rows(run)
    panels = split(panels, arms)
    layout = ConstrainedLayoutEngine(wspace=0.05, w_pad=0.06, h_pad=0.06)
    size = (_width(arms) * len(panels), _height(arms) * len(rows))
    fig = Figure(figsize=size, layout=layout)
    styles = arm_styles(arms)
    all_axes: Any = fig.subplots(len(rows), len(panels), squeeze=False)
    for row, axes_of_row in zip(rows, all_axes, strict=True):
        for axes, panel in zip(axes_of_row, panels, strict=True):
            _draw_panel(axes, row, panel, styles)
            _label(axes, row, panel, styles)
    return fig


def draw_panel(run: Run, panel: Panel, stem: Path) -> list[Path]:
    """Write one panel as `stem` with .png and .svg; the paths of both.

    Raises:
        OSError: the folder cannot be written.
    """
    png, vector = (stem.with_name(f"{stem.name}.{kind}") for kind in ("png", "svg"))
    row = _rows(run)[0]
    panels = split([panel], row.arms)
    with matplotlib.rc_context(STYLE):
        layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06)
        size = (_width(row.arms) * len(panels), _height(row.arms))
        fig = Figure(figsize=size, layout=layout)
        styles = arm_styles(row.arms)
        all_axes: Any = fig.subplots(1, len(panels), squeeze=False)
        for axes, each in zip(all_axes[0], panels, strict=True):
            _draw_panel(axes, row, each, styles)
            _label(axes, row, each, styles)
        fig.savefig(png, dpi=200, metadata={"Software": None})
        fig.savefig(vector, format="svg", metadata={"Date": None, "Creator": None})
    return [png, vector]


def split(panels: Sequence[Panel], arms: Mapping[str, Any]) -> list[Panel]:
    """The panels, that of attack success once for each unit that its arms have."""
    units = list(dict.fromkeys(_unit(arm) for arm in arms.values()))
    found = []
    for panel in panels:
        if panel.metric != "asr":
            found.append(panel)
            continue
        for unit in units:
            title = panel.title
            if unit == "ratio":
                own = panel.title == PANELS[0].title
                title = _RATIO_TITLE if own else f"{title}, ×" if len(units) > 1 else title
            found.append(replace(panel, title=title, unit=unit))
    return found


def course(arm: Mapping[str, Any], metric: str) -> Mapping[str, Any]:
    """A metric of an arm of the summary by its key, such as `heldout.accuracy`."""
    found: Any = arm
    for key in metric.split("."):
        found = found[key]
    return cast(Mapping[str, Any], found)


def means(rounds: pd.DataFrame, column: str, arm: str) -> pd.Series[float]:
    """Round -> mean over seeds of a column of the rounds, each seed's value a mean over nodes."""
    return _by_seed(rounds, column, arm).groupby("round").mean()


def _by_seed(rounds: pd.DataFrame, column: str, arm: str) -> pd.Series[float]:
    told = rounds[rounds["arm"] == arm].dropna(subset=[column])
    weighed = told.assign(total=told[column] * told["nodes"]).groupby(["round", "seed"])
    return cast("pd.Series[float]", weighed["total"].sum() / weighed["nodes"].sum())


def _as_svg(fig: Figure, *, transparent: bool) -> str:
    buffer = io.StringIO()
    metadata = {"Date": None, "Creator": None}
    fig.savefig(buffer, format="svg", metadata=metadata, transparent=transparent)
    return buffer.getvalue()


def _rows(run: Run) -> list[_Row]:
    """The whole swarm first, then each model, in those arms where there are several."""
    arms: dict[str, Any] = run.summary["arms"]
    if not arms:
        raise ValueError("there is nothing to draw yet: no arm has finished an iteration")
    planned = max(run.config["arms"][name]["rounds"] for name in arms)
    found = [_Row(None, arms, run.rounds, planned)]
    for model in dict.fromkeys(name for arm in arms.values() for name in arm.get("models", ())):
        own = {
            name: arm | arm["models"][model]
            for name, arm in arms.items()
            if model in arm.get("models", ())
        }
        found.append(_Row(model, own, run.rounds[run.rounds["cohort"] == model], planned))
    return found


def _arms(row: _Row, panel: Panel) -> dict[str, Any]:
    if panel.unit is None:
        return row.arms
    return {name: arm for name, arm in row.arms.items() if _unit(arm) == panel.unit}


def _unit(arm: Mapping[str, Any]) -> str:
    return str(arm["asr"].get("unit", "share"))


def _width(arms: Mapping[str, Any]) -> float:
    """Of a panel in inches: room for the curves and for the longest label beside them."""
    longest = max(
        len(name) + len(_UNFINISHED) * bool(arm.get("unfinished_seeds"))
        for name, arm in arms.items()
    )
    return 3 + 0.088 * (longest + len("  100.0 %"))


def _height(arms: Mapping[str, Any]) -> float:
    return max(3.4, labels.HEIGHT * len(arms) + 1)


def _draw_panel(axes: Axes, row: _Row, panel: Panel, styles: Mapping[str, Style]) -> None:
    for arm in _arms(row, panel):
        _draw_arm(axes, row, panel, arm, styles[arm])
    _finish(axes, row, panel)


def _draw_arm(axes: Axes, row: _Row, panel: Panel, arm: str, style: Style) -> None:
    by_seed = _by_seed(row.rounds, panel.column, arm)
    by_round = by_seed.groupby("round").mean()
    if by_round.empty:
        return  # a line without points has no extent, and would spoil the layout
    several = len(row.arms[arm]["seeds"]) > 1
    # Each arm starts at another point, so that markers of lines that meet do not hide one another.
    every = max(1, len(by_round) // _NUM_MARKERS)
    start = list(row.arms).index(arm) * every // max(1, len(row.arms))
    axes.plot(
        1 + by_round.index.to_numpy(),
        by_round.to_numpy(),
        color=style.colour,
        linewidth=1.9 if several else 1.3,
        linestyle=(0, style.dash) if style.dash else "solid",
        marker=style.marker,
        markevery=(start, every),
        markersize=4,
        markeredgewidth=0,
        solid_capstyle="round",
        clip_on=False,
        zorder=3,
    )
    bands = []
    for number, values in by_seed.groupby("round"):
        if interval := t_interval([float(value) for value in values]):
            bands.append((1 + float(number), *interval))  # type: ignore[arg-type]
    if bands:
        x, low, high = np.array(bands).T
        low = low.clip(0)
        if _is_share(panel):
            high = high.clip(0, 1)
        alpha = 0.16 if len(row.arms) <= _MANY else 0.07
        axes.fill_between(x, low, high, color=style.colour, alpha=alpha, linewidth=0)


def _finish(axes: Axes, row: _Row, panel: Panel) -> None:
    # Below one another: side by side they are wider than the panel.
    title = panel.title if row.model is None else f"{panel.title}\n{row.model}"
    axes.set_title(title, loc="left", fontweight="bold", fontsize=11, pad=10)
    axes.set_xlabel(panel.x)
    axes.set_ylabel(panel.y)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    axes.set_xlim(1, max(2, row.planned))
    axes.spines["left"].set_visible(False)
    axes.grid(axis="y", color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    if _is_share(panel):
        axes.set_ylim(0, 1)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
        axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    else:
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(5))


def _label(axes: Axes, row: _Row, panel: Panel, styles: Mapping[str, Style]) -> None:
    shown = _shown(panel)
    ends = {}
    for name, arm in _arms(row, panel).items():
        final = course(arm, panel.metric)["final"]
        if final is not None:
            more = _UNFINISHED if arm.get("unfinished_seeds") else ""
            ends[name] = (final, f"{name}  {shown(final)}{more}")
    labels.add(axes, ends, styles)


def _shown(panel: Panel) -> hover.Show:
    """How a value of a panel is written."""
    if _is_share(panel):
        return lambda value: f"{100 * value:.1f} %"
    digits = 2 if panel.unit == "ratio" else 1
    return lambda value: f"{value:.{digits}f}"


def _is_share(panel: Panel) -> bool:
    return panel.unit != "ratio" and panel.metric != "length"
