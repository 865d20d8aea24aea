"""How often the checks of `swarmproof scan` fire on honest runs: what ships with the package.

    swarmproof run text-horizontal --arm no-attack --seeds 10, --out runs/math …
    python -m benchmarks.scan_baselines runs/* > src/swarmproof/scan/baselines.json

Each trial is split by round into three files. Counts only; no text is kept.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

from swarmproof.scan import shares
from swarmproof.scan.baselines import Honest
from swarmproof.scan.corpus import gather
from swarmproof.scan.finding import FalseAlarms
from swarmproof.scan.rollout import Rollout
from swarmproof.scan.screening import counts, without_model
from swarmproof.scan.source import open_source

_PARTS = 3
_ABOUT_FILES = (
    "reward-words", "sender-words", "sender-length", "reward-length", "long-rewarded",
    "length-drift", "truncation", "copies", "same-answer", "diversity", "masked-votes",
)  # fmt: skip


def measure(trials: list[list[Rollout]], source: str) -> dict[str, object]:
    """The table that ships.

    Args:
        trials: rollouts of honest trials, one list for each.
        source: what they are, in words.
    """
    total: dict[str, tuple[int, int, str]] = {}
    for trial in trials:
        corpus = gather(trial, shares.LOOKS)
        for name, (fired, of, unit) in counts(corpus).items():
            before = total.get(name, (0, 0, unit))
            if name.endswith("/one"):  # the worst trial
                worst = max(before, (fired, of, unit), key=lambda one: one[0] / max(1, one[1]))
                total[name] = worst if worst[1] else (fired, of, unit)
            else:
                total[name] = (before[0] + fired, before[1] + of, unit)
        corpus.close()
    honest = Honest({n: FalseAlarms(*one, source) for n, one in total.items()}, given=False)
    fired_files, files = Counter[str](), 0
    for trial in trials:
        for part in range(_PARTS):
            corpus = gather((r for r in trial if (r.step or 0) % _PARTS == part), shares.LOOKS)
            fired_files.update({one.check for one in without_model(corpus, honest)})
            files += 1
            corpus.close()
    names = (*_ABOUT_FILES, *(check.name for check in shares.CHECKS))
    total |= {f"{name}/files": (fired_files[name], files, "files") for name in names}
    table = {n: {"fired": a, "of": b, "unit": unit} for n, (a, b, unit) in total.items()}
    return {"source": source, "counts": table}


def main() -> None:
    trials, seeds = [], set()
    for folder in sys.argv[1:]:
        for records in sorted(Path(folder).glob("trials/no-attack/*/completions.jsonl.gz")):
            trials.append(list(open_source([str(records)]).read()))
            seeds.add(records.parent.name.removeprefix("seed-"))
    if not trials:
        raise SystemExit("no honest trial is there: name run folders with an arm `no-attack`")
    source = f"{len(trials)} honest runs of tiny models, seeds {', '.join(sorted(seeds))}"
    print(json.dumps(measure(trials, source), indent=1))


if __name__ == "__main__":
    main()
