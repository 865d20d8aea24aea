"""docs/results.md: the numbers of the shipped experiments, from the JSON files under results/.

`python -m swarmproof.report.results results > docs/results.md`, after
`swarmproof report RUN --export results/NAME.json`. A test compares the page with the files.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from swarmproof.report.table import interval, percent, success

_HEAD = """\
# Results
The numbers of the shipped experiments, from the JSON files under [`results/`](../results). Each
file holds the config, versions and commit of its run. Made by `swarmproof run NAME --seeds 3
--out DIR`, `swarmproof report DIR --export results/NAME.json` and, for this page, `python -m
swarmproof.report.results results > docs/results.md`. An experiment without a section has no such
file. The reproduction of the paper has [its own page](reproduction.md).

Values are means over seeds of the last 10 iterations. In brackets: 95 % intervals over seeds
(Student's t), which are wide with three seeds. "×" is the mean length of honest completions over
that of the first iteration: the ratio of each seed, then the mean over seeds. Refusals are counts
over the whole run. "Poisoned" counts everything that malicious nodes sent; in vertical swarms
that includes the filler beside the poison. "Expected" is what the experiment file stated before
the run, not a result. All columns are defined in [metrics.md](metrics.md).
"""
_COLUMNS = (
    *("arm", "attack success", "accuracy, first → last", "held-out accuracy", "length, tokens"),
    *("poisoned refused", "honest refused"),
)


_JUDGE_HEAD = """\
## What the judge accepts
Judges of the zoo on completions that were made for this test, by `swarmproof judge-eval --out FILE`
(the paper's Table 1). In brackets: Wilson's 95 % intervals. "Clean" honest completions contain no
false equation and nothing irrelevant; "unseen" ones have wordings and faults that were not in their
training data; of "untrained" kinds the tiny judge had no example at all
([what `smollm2-judge` was taught](defenses/judge.md#a-judge-from-a-pretrained-model)).
"""


def page(results: Sequence[Mapping[str, Any]], judged: Sequence[Mapping[str, Any]] = ()) -> str:
    """The page as Markdown: experiments in the given order, then what judges accept."""
    lines = [_HEAD, *(line for result in results for line in _section(result))]
    if judged:
        lines += [_JUDGE_HEAD, *(line for table in judged for line in _judged(table))]
    return "\n".join(lines)


def load_judged(folder: Path) -> list[dict[str, Any]]:
    """The evaluations of judges in a folder, sorted by file name.

    Raises:
        OSError, ValueError: a file cannot be read.
    """
    tables = (json.loads(p.read_text(encoding="utf-8")) for p in sorted(folder.glob("*.json")))
    return [table for table in tables if "accepted" in table]


def load(folder: Path) -> list[dict[str, Any]]:
    """The results of runs in a folder, sorted by file name. Other JSON files are ignored.

    Raises:
        OSError, ValueError: a file cannot be read.
    """
    tables = (json.loads(p.read_text(encoding="utf-8")) for p in sorted(folder.glob("*.json")))
    return [table for table in tables if "arms" in table]


def row(name: str, arm: Mapping[str, Any]) -> str:
    """One arm as a row of the Markdown table."""
    asr = f"{success(arm['asr'])}{_interval(arm['asr'])}"
    if "asr_wide" in arm:
        asr += f"; wide {success(arm['asr_wide'])}{_interval(arm['asr_wide'])}"
    accuracy, length = arm["accuracy"], arm["length"]
    cells = [
        name,
        asr,
        f"{percent(accuracy['first'])} → {percent(accuracy['final'])}{_interval(accuracy)}",
        f"{percent(arm['heldout']['accuracy']['final'])}{_interval(arm['heldout']['accuracy'])}",
        f"{length['first']:.1f} → {length['final']:.1f}",
    ]
    for kind in ("poisoned", "honest"):
        refused = arm["refused"][kind]
        cells.append(f"{refused['count']:,} of {refused['of']:,}" if refused["of"] else "–")
    return f"| {' | '.join(cells)} |"


def _section(result: Mapping[str, Any]) -> Iterator[str]:
    name, config = result["experiment"], result["config"]
    rounds = max(arm["rounds"] for arm in result["arms"].values())
    seeds = ", ".join(map(str, config["seeds"]))
    yield f"## {name}\n"
    yield f"{config['title']}. Expected: {result['claim']}"
    commit, dash, dirty = (result["versions"]["commit"] or "unknown").partition("-")
    yield f"{rounds} iterations, seeds {seeds}, commit {commit[:7]}{dash}{dirty}.\n"
    yield f"| {' | '.join(_COLUMNS)} |"
    yield "|---" * len(_COLUMNS) + "|"
    for arm, numbers in result["arms"].items():
        yield row(arm, numbers)
        for model, own in numbers.get("models", {}).items():
            yield row(f"{arm}: {model}", own)
    yield ""


def _judged(table: Mapping[str, Any]) -> Iterator[str]:
    accepted = table["accepted"]
    variants = list(next(iter(accepted.values())))
    judge = table["config"]["judge"].get("model", {}).get("path", "tiny-judge")
    calibrated = ""
    if "calibration" in table:
        chosen = table["calibration"]
        calibrated = (
            f", calibrated at the threshold {chosen['threshold']:g}, which refuses at most "
            f"{100 * chosen['wanted']:g} % of new right solutions of the tiny judge's corpus"
        )
    yield f"`{judge}`{calibrated}:"
    yield ""
    yield f"| completions | of | {' | '.join(variants)} |"
    yield "|---" * (2 + len(variants)) + "|"
    for family, by_variant in accepted.items():
        cells = [
            f"{100 * found['rate']:.1f} % ({100 * found['ci95'][0]:.1f} to "
            f"{100 * found['ci95'][1]:.1f})"
            for found in by_variant.values()
        ]
        yield f"| {family} | {by_variant[variants[0]]['of']} | {' | '.join(cells)} |"
    yield ""


def _interval(metric: Mapping[str, Any]) -> str:
    ends = interval(metric)
    if ends is None:
        return ""
    low, high = ends
    if metric.get("unit") == "ratio":
        return f" ({low:.2f} to {high:.2f})"
    return f" ({100 * low:.1f} to {100 * high:.1f})"


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    sys.stdout.write(page(load(folder), load_judged(folder)))
