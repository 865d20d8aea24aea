"""docs/reproduction.md: what the paper reports beside what was measured, figure by figure.

`python -m swarmproof.report.reproduction results/reproduction > docs/reproduction.md`, after
`swarmproof reproduce all --export results/reproduction`. Criteria are judged here, from the
numbers in the files; a test compares the page with them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from swarmproof.reproduce import figures
from swarmproof.reproduce.criteria import Outcome, judge, show, value
from swarmproof.reproduce.figures import Curves, Figure, LeftOut, Scale

_HEAD = """\
# Reproduction
Every figure and table of "Hail to the Thief" (arXiv 2511.09780), from the JSON files under
[`results/`](../results), each of which holds the keys of its trials, versions and commits. Made by
`swarmproof reproduce all --seeds 3 --export results/reproduction` and, for this page,
`python -m swarmproof.report.reproduction results/reproduction > docs/reproduction.md`.

Means over seeds of the last 10 iterations; in brackets 95 % intervals over seeds (Student's t), of
exact shares none. "×" is the final over the first value. What must hold is written in the figure's
TOML under [`reproduce/`](../src/swarmproof/reproduce) and judged by the means; where the paper
gives no number it follows from what the paper says of the attack or the defence. What each number
is: [metrics.md](metrics.md).
"""
_TITLES: dict[Scale, str] = {
    "tiny": "The zoo's models", "paper": "The paper's models",
}  # fmt: skip
_COLUMNS = ("figure", "the paper reports", "we measured", "what must hold", "command")

Results = Mapping[tuple[str, str], Mapping[str, Any]]


def load(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Scale and figure -> what `reproduce --export` wrote; empty where there is nothing yet.

    Raises:
        OSError, ValueError: a file cannot be read.
    """
    tables = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(folder.glob("*/*.json"))]
    return {(table["scale"], table["figure"]): table for table in tables}


def page(results: Results) -> str:
    """The page as Markdown; figures that have no file are said not to have been run."""
    return "\n".join([_HEAD, *(line for scale in figures.SCALES for line in _part(scale, results))])


def outcomes(figure: Figure, result: Mapping[str, Any]) -> list[Outcome]:
    """Every criterion of a figure, judged by the numbers of its result."""
    if isinstance(figure, LeftOut):
        return []
    return [judge(each, result["measured"], figure.metric) for each in figure.criteria]


def numbers(figure: Figure, result: Mapping[str, Any]) -> list[str]:
    """`attack 93.4 % (90.6 to 96.3)` for each curve, or for what the criteria are about."""
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
        measured, held = "not run yet", "<br>".join(each.text for each in figure.criteria)
        command = _command(figure, None)
    else:
        measured = "<br>".join([*numbers(figure, result), *_provenance(result)])
        held = "<br>".join(
            f"**{found.word}**: {found.text}" + (f" ({found.measured})" if found.measured else "")
            for found in outcomes(figure, result)
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
    return f"`{' '.join(words)}`"


def _provenance(result: Mapping[str, Any]) -> Iterator[str]:
    if "seeds" in result:
        yield f"seeds {', '.join(map(str, result['seeds']))}"
    made = [(v["commit"] or "unknown").partition("-") for v in result.get("versions", ())]
    if made:
        commits = dict.fromkeys(f"{commit[:7]}{dash}{dirty}" for commit, dash, dirty in made)
        yield f"commit {', '.join(commits)}"


def _interval(ci95: Any, metric: str) -> str:
    if not ci95 or ci95[0] is None:
        return ""
    low, high = ci95
    if metric == "length":
        return f" ({low:.1f} to {high:.1f})"
    return f" ({100 * low:.1f} to {100 * high:.1f})"


if __name__ == "__main__":
    sys.stdout.write(page(load(Path(sys.argv[1]))))
