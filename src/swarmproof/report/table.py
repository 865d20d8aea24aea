"""The summary of a run as a table: the words in its cells, and the table for a terminal.

The HTML report shows the same cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from swarmproof.report.palette import arm_colours

HEADINGS = (
    "arm",
    "attack success",
    "accuracy",
    "length, tokens",
    "poisoned refused",
    "honest refused",
    "seconds",
)
_ABSENT = "–"


@dataclass(frozen=True, slots=True)
class Cell:
    value: str
    detail: str = ""  # the interval, or the counts behind the value


def rows(summary: Mapping[str, Any]) -> dict[str, list[Cell]]:
    """Arm -> its cells, in the order of `HEADINGS` after the first."""
    return {name: _cells(arm) for name, arm in summary["arms"].items()}


def model_rows(arm: Mapping[str, Any]) -> dict[str, list[Cell]]:
    """The same cells for each model of an arm that has several."""
    return {name: _cells(numbers) for name, numbers in arm.get("models", {}).items()}


def summary_table(summary: Mapping[str, Any]) -> Table:
    """The table that the command line shows at the end. Arms' names are not read as markup."""
    table = Table(title=Text(summary["experiment"]), title_justify="left", title_style="bold")
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading == "arm" else "right")
    colours = arm_colours(summary["arms"])
    for name, cells in rows(summary).items():
        table.add_row(Text(name, style=f"bold {colours[name]}"), *map(_lines, cells))
        for model, own in model_rows(summary["arms"][name]).items():
            table.add_row(Text(f"  {model}", style=colours[name]), *map(_lines, own))
    return table


def _lines(cell: Cell) -> Text:
    text = Text(cell.value)
    return text.append(f"\n{cell.detail}", style="dim") if cell.detail else text


def percent(share: float | None) -> str:
    """`99.5 %`; two decimals near 0 and 1, and never rounded to all or nothing."""
    if share is None:
        return _ABSENT
    value = 100 * share
    if 0 < value < 0.005:
        words = "< 0.01"
    elif 99.995 <= value < 100:
        words = "> 99.99"
    else:
        words = f"{value:.{2 if 0 < value < 1 or 99 < value < 100 else 1}f}"
    return f"{words}\N{NO-BREAK SPACE}%".replace(" ", "\N{NO-BREAK SPACE}")


def success(asr: Mapping[str, Any]) -> str:
    """The final success of an attack: `94.1 %`, or `2.31 ×` where it is a ratio."""
    if asr.get("unit", "share") == "share":
        return percent(asr["final"])
    return _ABSENT if asr["final"] is None else f"{asr['final']:.2f}\N{NO-BREAK SPACE}×"


def _cells(arm: Mapping[str, Any]) -> list[Cell]:
    asr, accuracy, length = arm["asr"], arm["accuracy"], arm["length"]
    is_share = asr.get("unit", "share") == "share"
    return [
        Cell(
            success(asr) + (f", wide {success(arm['asr_wide'])}" if "asr_wide" in arm else ""),
            _interval(asr["ci95"], percent_of=is_share),
        ),
        Cell(
            f"{percent(accuracy['first'])} → {percent(accuracy['final'])}",
            _interval(accuracy["ci95"], percent_of=True),
        ),
        Cell(
            f"{_number(length['first'])} → {_number(length['final'])}",
            _interval(length["ci95"], percent_of=False),
        ),
        *(_refused(arm["refused"][who]) for who in ("poisoned", "honest")),
        # A model's share of the time is not told.
        Cell(f"{arm['seconds']:.0f}", "a trial") if "seconds" in arm else Cell(""),
    ]


def _refused(counts: Mapping[str, Any]) -> Cell:
    if not counts["of"]:
        return Cell(_ABSENT, "none gathered")
    return Cell(percent(counts["rate"]), f"{counts['count']:,} of {counts['of']:,}")


def _interval(ends: list[float | None], *, percent_of: bool) -> str:
    low, high = ends
    if low is None or high is None:
        return ""
    if percent_of:
        return f"{100 * low:.1f} to {100 * high:.1f}"
    return f"{low:.1f} to {high:.1f}"


def _number(value: float | None) -> str:
    return _ABSENT if value is None else f"{value:.1f}"
