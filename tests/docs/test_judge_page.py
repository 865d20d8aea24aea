"""The table of docs/defenses/judge.md is what `judge-eval` found, with its sums."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from swarmproof.measure.judge_eval import CALIBRATED
from swarmproof.pretraining import judge_unseen
from swarmproof.records.summary import wilson_interval

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/defenses/judge.md").read_text(encoding="utf-8")


def accepted(name: str) -> dict[str, Any]:
    table = json.loads((ROOT / f"results/{name}.json").read_text(encoding="utf-8"))
    found: dict[str, Any] = table["accepted"]
    return found


def cell(rows: list[dict[str, Any]]) -> str:
    count, of = sum(row["count"] for row in rows), sum(row["of"] for row in rows)
    ends = wilson_interval(count, of)
    assert ends is not None
    return f"{100 * count / of:.1f} % ({100 * ends[0]:.1f} to {100 * ends[1]:.1f})"


def table() -> Iterator[str]:
    """Rows of both judges: sums over the families with unseen wordings and faults, then each."""
    tiny, smol = accepted("judge-eval-unseen"), accepted("judge-eval-smollm2")
    honest, hostile, programs = (
        set(judge_unseen.HONEST), set(judge_unseen.HOSTILE), judge_unseen.PROGRAMS
    )  # fmt: skip
    apart = [family for family in tiny if family.startswith(("unseen: ", "untrained: "))]
    kind = {family: family.split(": ", 1)[1] for family in apart}
    of = {
        "**right solutions in words**": honest - programs,
        "**right programs**": honest & programs,
        "**hostile texts**": hostile - programs,
        "**hostile programs**": hostile & programs,
    }
    groups = {name: [f for f in kind if kind[f] in kinds] for name, kinds in of.items()}
    groups |= {family: [family] for family in tiny}
    for name, families in groups.items():
        cells = [
            cell([tiny[family]["scored"] for family in families]),
            *(cell([smol[f][column] for f in families]) for column in ("scored", CALIBRATED)),
        ]
        yield f"| {name} | {' | '.join(cells)} |"


def test_the_table_of_the_judges_is_what_was_measured() -> None:
    for row in table():
        assert row in PAGE
