"""What the command line shows at the end of a run: table, legend, notes and sentences."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from swarmproof.report import table
from swarmproof.report.contents import Contents


def show(contents: Contents, console: Console | None = None) -> None:
    """Print a report. A terminal gets tables that fit it; a pipe or a file one wide table."""
    console = console or Console()
    summary, states = contents.run.summary, contents.states
    if not console.is_terminal:
        console.width = max(100, table.width_of(summary, states, console))
    for each in table.summary_tables(summary, states, console):
        console.print(each)
    console.print(table.legend_table(summary))
    # Paragraphs go out as one line each, so that they can be searched and copied.
    for note in (*contents.notes, *table.lost(summary)):
        console.print(Text(f"\n{note}"), soft_wrap=True)
    console.print()
    for arm, paragraph in contents.headline.items():
        line = Text(f"{arm}: ", style="bold").append(paragraph, style="not bold")
        console.print(line, soft_wrap=True)
