"""verl: `STEP.jsonl` of `trainer.rollout_data_dir`, `validation_data_dir`.

Keys `input, output, gts, score, step`, and `uid` where the trainer v1 wrote it: prompt, session and
index. The older trainer writes no uid and reorders rows: all equal prompts of a step are a group.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path

from swarmproof.scan.readers.groups import by_prompt
from swarmproof.scan.readers.values import FileRow, Rows, verdict
from swarmproof.scan.rollout import Rollout

NAME = "verl STEP.jsonl"
_UID = re.compile(r"(.+)_\d+_\d+")


def matches(keys: Collection[str]) -> bool:
    return {"input", "output", "score"} <= set(keys)


def read(rows: Rows, path: str) -> Iterator[Rollout]:
    stem = Path(path).stem
    for row in rows:
        step = row.step("step")
        if step is None and stem.isdecimal() and len(stem) < 16:
            step = int(stem)
        prompt, uid = row.text("input"), row.name("uid")
        refused, reason = verdict(row)
        yield Rollout(
            id=uid or row.where,
            where=row.where,
            prompt=prompt,
            text=row.text("output"),
            group=_group(uid) if uid else by_prompt(path, step, prompt),
            step=step,
            reward=_score(row),
            answer=row.shown("gts"),
            masked=refused,
            verdict=reason,
        )


def _group(uid: str) -> str:
    found = _UID.fullmatch(uid)
    return found[1] if found else uid


def _score(row: FileRow) -> float | None:
    row.need("score")
    return row.number("score")
