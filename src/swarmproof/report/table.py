"""The summary of a run as a table: the text of its cells, and the tables for a terminal.

The HTML report shows the same cells.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from swarmproof.records.summary import FINAL_ITERATIONS

# Column -> what it means; the legend in the terminal and on the page.
LEGEND = {
    "attack success": "the attack's own measure on the completions of honest nodes",
    "accuracy": "share of right answers of honest nodes: first iteration → final",
    "length, tokens": "mean length of the completions of honest nodes: first iteration → final",
    "poisoned refused": (
        "of all completions of malicious nodes, those that at least one defence refused"
    ),
    "honest refused": "of all completions of honest nodes, those refused: false rejections",
    "wall seconds": "mean wall time of one trial; trials side by side slow one another down",
}
HEADINGS = ("arm", *LEGEND)
_ABSENT = "–"
_NAME_SHARE = 0.5  # of the terminal's width; a longer name is folded, never cut
_MIN_NAME = 8  # letters in a line of a folded name
_EVERYTHING = 100_000  # columns, for measuring


@dataclass(frozen=True, slots=True)
class Cell:
    value: str
    detail: str = ""  # the interval, or the counts behind the value


def rows(summary: Mapping[str, Any]) -> dict[str, list[Cell]]:
    """Arm -> its cells, in the order of `HEADINGS` after the first."""
    return {name: _cells(arm) for name, arm in summary["arms"].items()}


def model_rows(arm: Mapping[str, Any]) -> dict[str, list[Cell]]:
    """The same cells for each model of an arm that has several."""
    whole = {"unfinished_seeds": arm.get("unfinished_seeds", [])}
    return {name: _cells(numbers | whole) for name, numbers in arm.get("models", {}).items()}


def final_words(summary: Mapping[str, Any]) -> str:
    """What the final value of a metric is a mean of, for a legend."""
    rounds = {min(arm["rounds"], FINAL_ITERATIONS) for arm in summary["arms"].values()}
    short = [n for n in sorted(rounds) if n < FINAL_ITERATIONS]
    words = f"final: mean of the last {FINAL_ITERATIONS} iterations"
    if short:
        counts = " or ".join(map(str, short))
        words += f" (an arm here has only {counts}, and the mean is over those)"
    return words


def interval_words(summary: Mapping[str, Any]) -> str:
    """What the intervals are, or why there are none."""
    if all(len(arm["seeds"]) < 2 for arm in summary["arms"].values()):
        return "no intervals: one seed says nothing about other seeds"
    return (
        "a to b: 95 % interval over seeds (Student's t); none with one seed or in an unfinished arm"
    )


def legend(summary: Mapping[str, Any]) -> dict[str, str]:
    """Heading -> meaning, with a last entry for the values themselves."""
    arms = summary["arms"].values()
    found = dict(LEGEND)
    if any(arm["asr"].get("unit") == "ratio" for arm in arms):
        found["attack success"] += "; ×: their mean length over that of the first iteration"
    if any("asr_wide" in arm for arm in arms):
        found["attack success"] += "; wide: the attack's second, wider measure"
    return {**found, "values": f"{final_words(summary)}; {interval_words(summary)}"}


def summary_tables(
    summary: Mapping[str, Any], states: Mapping[str, str], console: Console
) -> list[Table]:
    """The table for a terminal, cut into several with fewer columns each where it is too wide.

    Each has the arms' names in full, folded where they are long. Names are not read as markup.

    Args:
        states: of `states.of_arms`.
    """
    every = range(len(LEGEND))
    widest = max(_width(console, _table(summary, states, [number], 1)) for number in every)
    # What one column leaves for the names: more is folded.
    names = max(_MIN_NAME, min(int(console.width * _NAME_SHARE), 1 + console.width - widest))
    tables: list[Table] = []
    columns: list[int] = []
    for number in every:
        wider = _table(summary, states, [*columns, number], names)
        if columns and _width(console, wider) > console.width:
            tables.append(_table(summary, states, columns, names))
            columns = []
        columns.append(number)
    tables.append(_table(summary, states, columns, names))
    tables[0].title = Text(summary["experiment"])
    return tables


def width_of(summary: Mapping[str, Any], states: Mapping[str, str], console: Console) -> int:
    """The width that the table with all columns needs."""
    return _width(console, _table(summary, states, range(len(LEGEND)), None))


def _width(console: Console, table: Table) -> int:
    """What a table takes where there is room for everything."""
    options = console.options.update(max_width=_EVERYTHING)
    return Measurement.get(console, options, table).maximum


def legend_table(summary: Mapping[str, Any]) -> Table:
    """The legend for a terminal."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for heading, meaning in legend(summary).items():
        grid.add_row(Text(heading, style="dim"), Text(meaning, style="dim"))
    return grid


def _table(
    summary: Mapping[str, Any],
    states: Mapping[str, str],
    columns: Sequence[int],
    names: int | None,
) -> Table:
    """Some of the columns; names are folded to a width, or as long as they are if it is None."""
    table = Table(title_justify="left", title_style="bold")
    table.add_column("arm", overflow="fold", max_width=names)
    headings = list(LEGEND)
    for number in columns:
        table.add_column(headings[number], justify="right", no_wrap=True)
    for name, state, cells in _named_rows(summary, states):
        table.add_row(
            _lines(Cell(name, state), bold=state is not None),
            *(_lines(cells[number]) for number in columns),
        )
    return table


def _named_rows(
    summary: Mapping[str, Any], states: Mapping[str, str]
) -> Iterator[tuple[str, str, list[Cell]]]:
    for name, cells in rows(summary).items():
        yield name, states.get(name, ""), cells
        for model, own in model_rows(summary["arms"][name]).items():
            yield f"  {model}", "", own


def _lines(cell: Cell, *, bold: bool = False) -> Text:
    text = Text(cell.value, style="bold" if bold else "")
    return text.append(f"\n{cell.detail}", style="dim") if cell.detail else text


def percent(share: float | None) -> str:
    """`99.5 %`; two decimals near 0 and 1, and never rounded to exactly 0 or 100."""
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


def interval(metric: Mapping[str, Any], *, unfinished: bool = False) -> tuple[float, float] | None:
    """The interval of a metric's final value over seeds, never below 0; None where there is none.

    Older summaries have intervals over the iterations of one seed; these are left out, as are those
    of unfinished arms, whose seeds may be at different iterations.
    """
    low, high = metric["ci95"]
    if low is None or high is None or metric.get("ci95_over") != "seeds" or unfinished:
        return None
    return max(0.0, low), high


def _cells(arm: Mapping[str, Any]) -> list[Cell]:
    asr, accuracy, length = arm["asr"], arm["accuracy"], arm["length"]
    unfinished = bool(arm.get("unfinished_seeds"))
    is_share = asr.get("unit", "share") == "share"

    def ends(metric: Mapping[str, Any], scale: float, digits: int = 1) -> str:
        found = interval(metric, unfinished=unfinished)
        return f"{scale * found[0]:.{digits}f} to {scale * found[1]:.{digits}f}" if found else ""

    return [
        Cell(
            success(asr) + (f", wide {success(arm['asr_wide'])}" if "asr_wide" in arm else ""),
            ends(asr, 100) if is_share else ends(asr, 1, 2),
        ),
        Cell(f"{percent(accuracy['first'])} → {percent(accuracy['final'])}", ends(accuracy, 100)),
        Cell(f"{_number(length['first'])} → {_number(length['final'])}", ends(length, 1)),
        *(_refused(arm["refused"][who]) for who in ("poisoned", "honest")),
        # The time of a single model is not measured.
        Cell(f"{arm['seconds']:.0f}") if "seconds" in arm else Cell(""),
    ]


def lost(summary: Mapping[str, Any]) -> Iterator[str]:
    """A line for each arm in which something was malformed, absent, or drawn by the receivers.

    The numbers of the table do not count these.
    """
    words = {
        "malformed": "malformed messages or completions",
        "absent": "messages that did not arrive",
        "refilled": "slots that the receivers drew themselves",
    }
    for name, arm in summary["arms"].items():
        told = [f"{arm[key]:,} {what}" for key, what in words.items() if arm.get(key)]
        if told:
            yield f"{name}: {', '.join(told)}. No other number counts these."


def _refused(counts: Mapping[str, Any]) -> Cell:
    if not counts["of"]:
        return Cell(_ABSENT, "none gathered")
    return Cell(percent(counts["rate"]), f"{counts['count']:,} of {counts['of']:,}")


def _number(value: float | None) -> str:
    return _ABSENT if value is None else f"{value:.1f}"
