"""A scan on a terminal: a table of findings, then pieces of the texts, none of it as markup."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from swarmproof.report.marks import visible
from swarmproof.scan.outcome import Excerpt, Scanned, false_alarms, heading

_STYLES = {"high": "bold red", "medium": "yellow", "low": "cyan"}
_EXCERPTS = 2  # of a finding
_SENDERS = 8


def show(outcome: Scanned, console: Console) -> None:
    """Print a scan. A pipe or a file gets one wide table."""
    if not console.is_terminal:
        console.width = 160
    console.print(Text(heading(outcome), style="bold"))
    if outcome.shown:
        console.print(_table(outcome))
    for number, each in enumerate(outcome.shown, 1):
        finding = each.finding
        console.print(Text(f"\n{number} {line(finding.check)}: ", style="bold").append(
            line(finding.summary), style="not bold"), soft_wrap=True)  # fmt: skip
        console.print(Text(f"  strength: {line(finding.strength)}"), soft_wrap=True)
        if finding.p_value is not None:
            console.print(
                Text(f"  p = {finding.p_value:.2g}, corrected for all that was looked at")
            )
        told = line(false_alarms(finding.false_alarms))
        console.print(Text(f"  on honest data: {told}"), soft_wrap=True)
        if finding.senders:
            names = ", ".join(map(line, finding.senders[:_SENDERS]))
            more = f" and {len(finding.senders) - _SENDERS} more" * (
                len(finding.senders) > _SENDERS
            )
            console.print(Text(f"  senders: {names}{more}"), soft_wrap=True)
        for excerpt in each.excerpts[:_EXCERPTS]:
            console.print(_excerpt(excerpt), soft_wrap=True)
    for note in outcome.notes:
        console.print(Text(f"\n{line(note)}"), soft_wrap=True)


def _table(outcome: Scanned) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", expand=False)
    table.add_column("")
    table.add_column("severity")
    table.add_column("check")
    table.add_column("found", ratio=1)
    for name in ("completions", "since step", "on honest data"):
        table.add_column(name, justify="right", no_wrap=True)
    for number, each in enumerate(outcome.shown, 1):
        finding, honest = each.finding, each.finding.false_alarms
        table.add_row(
            str(number),
            Text(finding.severity, style=_STYLES[finding.severity]),
            Text(line(finding.check)),
            Text(line(finding.summary)),
            f"{len(finding.ids):,}",
            "–" if finding.since is None else f"{finding.since:,}",
            f"{honest.fired:,} of {honest.of:,} {line(honest.unit)}",
        )
    return table


def _excerpt(excerpt: Excerpt) -> Text:
    at = [line(excerpt.where)]
    at += [] if excerpt.step is None else [f"step {excerpt.step}"]
    at += [] if excerpt.sender is None else [f"from {line(excerpt.sender)}"]
    text = Text(f"  {', '.join(at)}\n    ", style="dim")
    for piece, marked in excerpt.parts:
        text.append(line(piece), style="reverse not dim" if marked else "not dim")
    return text


def line(text: str) -> str:
    """A text of one line, with invisible characters spelt out."""
    return visible(text).replace("\n", " ⏎ ")
