"""docs/reproduction.md: the paper's numbers beside the measured ones, figure by figure.

`python -m swarmproof.reproduce.page results/reproduction > docs/reproduction.md`, after
`swarmproof reproduce all --export results/reproduction`. Criteria are judged here, from the
numbers in the files; a test compares the page with them.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from swarmproof.reproduce import figures
from swarmproof.reproduce.criteria import (
    Bound,
    Criterion,
    Near,
    Order,
    Outcome,
    judge,
    show,
    value,
)
from swarmproof.reproduce.figures import Curves, Figure, LeftOut, Scale

_HEAD = """\
# Reproduction
Every figure and table of "Hail to the Thief" (arXiv 2511.09780), from the JSON files under
[`results/`](../results). Each file holds the keys of its trials, versions and commits. Made by
`swarmproof reproduce all --seeds 3 --export results/reproduction` and, for this page, `python -m
swarmproof.reproduce.page results/reproduction > docs/reproduction.md`.

Values are means over seeds of the last 10 iterations. In brackets: 95 % intervals over seeds
(Student's t); exact values have none. "×" is the final mean length over the first, both means
over seeds (the [results](results.md) take the ratio of each seed first, so the last digit may
differ). What must hold is written in the figure's TOML under
[`reproduce/`](../src/swarmproof/reproduce); "needed" is its margin. Criteria are judged by the
means, not by the intervals. Where the paper gives no number, the criterion follows from what the
paper says about the attack or the defence. A share of a group is rounded up to whole completions:
a fifth of 12 is 3, a quarter. All numbers are defined in [metrics.md](metrics.md).
"""
_TITLES: dict[Scale, str] = {
    "tiny": "The zoo's models", "small": "SmolLM2-135M", "paper": "The paper's models",
}  # fmt: skip
_COLUMNS = ("figure", "the paper reports", "we measured", "what must hold", "command")

Results = Mapping[tuple[str, str], Mapping[str, Any]]


def load(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Scale and figure -> what `reproduce --export` wrote; empty if there are no files yet.

    Raises:
        OSError, ValueError: a file cannot be read.
    """
    tables = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(folder.glob("*/*.json"))]
    return {(table["scale"], table["figure"]): table for table in tables}


def page(results: Results) -> str:
    """The page as Markdown; a figure without a file is listed as "not run yet"."""
    return "\n".join([_HEAD, *(line for scale in figures.SCALES for line in _part(scale, results))])


def outcomes(figure: Figure, result: Mapping[str, Any]) -> list[Outcome]:
    """Every criterion of a figure, judged by the numbers of its result."""
    if isinstance(figure, LeftOut):
        return []
    return [judge(each, result["measured"], figure.metric) for each in figure.criteria]


def numbers(figure: Figure, result: Mapping[str, Any]) -> list[str]:
    """`attack 93.4 % (90.6 to 96.3)` for each curve, or for each name in the criteria."""
    if isinstance(figure, LeftOut):
        return []
    measured = result["measured"]
    if isinstance(figure, Curves):
        names = list(measured)
    else:
        names = list(dict.fromkeys(name for each in figure.criteria for name in each.names))
    found = []
    for name in names:
        final = value(measured, name, figure.metric)
        if final is not None:
            interval = _interval(measured[name][figure.metric].get("ci95"), figure.metric)
            found.append(f"{name} {show(final, figure.metric)}{interval}")
    return found


def margin(criterion: Criterion, metric: str) -> str:
    """What a criterion needs in numbers: `at least 90.0 %`.

    Args:
        metric: of the figure, for criteria that name none.
    """
    metric = criterion.metric or metric

    def number(value: float) -> str:
        return show(value, metric, criterion.stat)

    def gap(value: float) -> str:
        """A difference: of shares it is in points, not in percent of anything."""
        return number(value).replace(" %", " points")

    match criterion:
        case Bound(at_least=low, at_most=high):
            ends = (("at least", low), ("at most", high))
            return ", ".join(f"{word} {number(end)}" for word, end in ends if end is not None)
        case Order(by=by):
            return f"{gap(by)} between each and the next"
        case Near(within=within):
            return f"within {gap(within)} of each other"


def _part(scale: Scale, results: Results) -> Iterator[str]:
    yield f"## {_TITLES[scale]}\n"
    shown = [figures.read(name, scale) for name in figures.names(scale)]
    if not any((scale, figure.name) in results for figure in shown):
        yield f"None of these has been run: `swarmproof reproduce all --scale {scale}`.\n"
        if scale != "tiny":
            return
    yield f"| {' | '.join(_COLUMNS)} |"
    yield "|---" * len(_COLUMNS) + "|"
    for figure in shown:
        yield _row(figure, results.get((scale, figure.name)))
    yield ""


def _row(figure: Figure, result: Mapping[str, Any] | None) -> str:
    if isinstance(figure, LeftOut):
        measured, held, command = "left out", figure.reason, ""
    elif result is None:
        measured = "not run yet"
        held = "<br>".join(
            f"{each.text} (needed: {margin(each, figure.metric)})" for each in figure.criteria
        )
        command = _command(figure, None)
    else:
        measured = "<br>".join([*numbers(figure, result), *_provenance(result)])
        judged = zip(figure.criteria, outcomes(figure, result), strict=True)
        held = "<br>".join(
            f"**{found.word}**: {found.text} ({found.measured + '; ' if found.measured else ''}"
            f"needed: {margin(criterion, figure.metric)})"
            for criterion, found in judged
        )
        command = _command(figure, result)
    cells = [f"{figure.label}: {figure.title}", figure.paper, measured, held, command]
    return f"| {' | '.join(cells)} |"


def _command(figure: Figure, result: Mapping[str, Any] | None) -> str:
    words = ["swarmproof reproduce", figure.name]
    if figure.scale != "tiny":
        words += ["--scale", figure.scale]
    if result and "seeds" in result:
        seeds = result["seeds"]
        counted = seeds == list(range(len(seeds))) and seeds
        words += ["--seeds", str(len(seeds)) if counted else ",".join(map(str, seeds))]
    words += [word for each in _overrides(result) for word in ("--set", shlex.quote(each))]
    return f"`{' '.join(words)}`"


def _overrides(result: Mapping[str, Any] | None) -> list[str]:
    """Settings that are not those of the figure's file."""
    return list((result or {}).get("set", ()))


def _provenance(result: Mapping[str, Any]) -> Iterator[str]:
    if "seeds" in result:
        yield f"seeds {', '.join(map(str, result['seeds']))}"
    if overrides := _overrides(result):
        yield f"with {', '.join(overrides)}"
    made = [(v["commit"] or "unknown").partition("-") for v in result.get("versions", ())]
    if made:
        commits = dict.fromkeys(f"{commit[:7]}{dash}{dirty}" for commit, dash, dirty in made)
        yield f"commit {', '.join(commits)}"


def _interval(ci95: Any, metric: str) -> str:
    if not ci95 or ci95[0] is None:
        return ""
    low, high = ci95
    low = max(0.0, low)  # no metric is negative
    if metric == "length":
        return f" ({low:.1f} to {high:.1f})"
    return f" ({100 * low:.1f} to {100 * high:.1f})"


if __name__ == "__main__":
    sys.stdout.write(page(load(Path(sys.argv[1]))))
