"""`scan`: look for poison in rollouts that a trainer has already written. Nothing is executed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swarmproof.cli.common import Quiet, write
from swarmproof.config import quote
from swarmproof.registry import did_you_mean

if TYPE_CHECKING:
    from rich.progress import Progress

    from swarmproof.scan.finding import Finding
    from swarmproof.scan.outcome import Scanned
    from swarmproof.scan.readers.columns import ColumnNames
    from swarmproof.scan.rollout import Rollout
    from swarmproof.scan.source import Source, Tally

_FOUND = 1  # exit code
_EVERY = 1 << 20  # bytes between two movements of the bar

_Paths = Annotated[list[str], typer.Argument(metavar="PATH...", help="Files, folders or patterns.")]
_Json = Annotated[
    str | None,
    typer.Option(
        "--json",
        metavar="FILE",
        help="Also write all as JSON; -: to the output, nothing else.",
        show_default="none",
    ),
]
_Html = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Also write one HTML page.", show_default="none"),
]
_Flags = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Also write a JSON line for each completion to drop, and why.",
        show_default="none",
    ),
]
_FailOn = Annotated[
    str, typer.Option(metavar="[high|medium|low]", help="Exit code 1 from this severity on.")
]
_Reference = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Rollouts that are known to be honest.", show_default="none"),
]
_Model = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="The model that sampled: checks by its probabilities, too.",
        show_default="none",
    ),
]
_Judge = Annotated[bool, typer.Option("--judge", help="Also ask the tiny judge about each text.")]
_Column = Annotated[
    str | None, typer.Option(metavar="COL", help="Its column.", show_default="none")
]


def scan(
    paths: _Paths,
    json_: _Json = None,
    html: _Html = None,
    flags: _Flags = None,
    fail_on: _FailOn = "low",
    reference: _Reference = None,
    model: _Model = None,
    judge: _Judge = False,
    prompt: _Column = None,
    completion: _Column = None,
    reward: _Column = None,
    group: _Column = None,
    sender: _Column = None,
    answer: _Column = None,
    step: _Column = None,
    quiet: Quiet = False,
) -> None:
    """Look for poison in rollouts that a trainer wrote. Exit code 0 clean, 1 findings."""
    from swarmproof.scan.outcome import SEVERITIES

    if fail_on not in SEVERITIES:
        raise ValueError(f"--fail-on {quote(fail_on)}{did_you_mean(fail_on[:60], SEVERITIES)}")
    columns = _columns(prompt, completion, reward, group, sender, answer, step)
    outcome = _scan(paths, reference, columns, model, judge=judge, quiet=quiet)
    _write(outcome, json_, html, flags)
    if outcome.fails(fail_on):
        raise typer.Exit(_FOUND)


def _columns(
    prompt: str | None,
    completion: str | None,
    reward: str | None,
    group: str | None,
    sender: str | None,
    answer: str | None,
    step: str | None,
) -> ColumnNames | None:
    from swarmproof.scan.readers.columns import ColumnNames

    others = (reward, group, sender, answer, step)
    if prompt is None and completion is None and not any(others):
        return None
    if prompt is None or completion is None:
        raise ValueError("columns are named by both --prompt COL and --completion COL; give both")
    return ColumnNames(prompt, completion, *others)


def _scan(
    paths: list[str],
    reference: str | None,
    columns: ColumnNames | None,
    model: str | None,
    *,
    judge: bool,
    quiet: bool,
) -> Scanned:
    from swarmproof.scan.outcome import Scanned, explain, notes
    from swarmproof.scan.readers import node_archive, run_folder
    from swarmproof.scan.source import Tally, open_source

    source = open_source(paths, columns)
    if model is not None and run_folder.NAME in source.formats:
        raise ValueError(
            "--model needs the prompts, and a run folder has only the questions; write them with "
            "`swarmproof export RUN --format verifiers`, and scan what it wrote"
        )
    if model is not None and node_archive.NAME in source.formats:
        raise ValueError("--model needs the prompts, and an archive has only the ids of problems")
    honest = None if reference is None else open_source([reference], columns)
    tally, honest_tally = Tally(), Tally()
    with ExitStack() as stack:
        bar = stack.enter_context(_progress(quiet))
        # Everything is read once first: a file that is broken at its end is told before a check
        # has spent an hour on its beginning.
        _count(source, tally, bar)
        if honest is not None:
            _count(honest, honest_tally, bar)
        checked = _reader(source, tally, bar, "checking")
        findings = _screened(
            checked,
            None if honest is None else _reader(honest, honest_tally, bar, "reading reference"),
            model,
            judge=judge,
        )
        shown, flags = explain(_reader(source, tally, bar, "looking up"), findings)
    told = notes(source, tally, model, reference=honest is not None)
    return Scanned(tuple(paths), source, tally, shown, flags, told)


def _screened(
    read: Callable[[], Iterator[Rollout]],
    reference: Callable[[], Iterator[Rollout]] | None,
    model: str | None,
    *,
    judge: bool,
) -> list[Finding]:
    from swarmproof.scan.screening import screen

    return screen(read, reference=reference, model=model, judge=judge)


def _progress(quiet: bool) -> Progress:
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=quiet or not console.is_terminal)


def _count(source: Source, tally: Tally, bar: Progress) -> None:
    task = bar.add_task("reading", total=max(1, source.size))
    waiting = 0

    def advance(count: int) -> None:
        nonlocal waiting
        waiting += count
        if waiting >= _EVERY:
            bar.advance(task, waiting)
            waiting = 0

    for _ in source.read(tally, advance):
        pass
    bar.remove_task(task)
    if not tally.completions:
        first = source.files[0].source.path
        raise ValueError(f"{first}: has no completions; name files that have some")


def _reader(
    source: Source, tally: Tally, bar: Progress, what: str
) -> Callable[[], Iterator[Rollout]]:
    """The rollouts of a source as often as wanted, each time with a bar."""

    def read() -> Iterator[Rollout]:
        task = bar.add_task(what, total=tally.completions)
        for number, rollout in enumerate(source.read(), 1):
            if not number % 1000:
                bar.advance(task, 1000)
            yield rollout
        bar.remove_task(task)

    return read


def _write(outcome: Scanned, json_: str | None, html: Path | None, flags: Path | None) -> None:
    from rich.console import Console

    from swarmproof.scan import page, terminal_view
    from swarmproof.scan.outcome import as_table

    if json_ == "-":
        json.dump(as_table(outcome), sys.stdout, indent=2)
        print()
    else:
        terminal_view.show(outcome, Console())
    if json_ not in (None, "-"):
        write(Path(json_), as_table(outcome))
    if html is not None:
        page.write(outcome, html)
    if flags is not None:
        flags.parent.mkdir(parents=True, exist_ok=True)
        with flags.open("w", encoding="ascii") as file:
            file.writelines(json.dumps(asdict(flag)) + "\n" for flag in outcome.flags)
    if json_ != "-":
        files = [str(path) for path in (json_, html, flags) if path is not None]
        if files:
            print(f"\nwritten: {', '.join(files)}")
