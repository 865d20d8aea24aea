"""Any JSON lines, CSV or Parquet whose columns the user names."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields

from swarmproof.scan.readers.chat import asked, written
from swarmproof.scan.readers.groups import by_prompt
from swarmproof.scan.readers.values import Rows, verdict
from swarmproof.scan.rollout import Rollout


@dataclass(frozen=True, slots=True)
class ColumnNames:
    """The columns that `--prompt COL --completion COL …` name."""

    prompt: str
    completion: str
    reward: str | None = None
    group: str | None = None
    sender: str | None = None
    answer: str | None = None
    step: str | None = None

    @property
    def name(self) -> str:
        return f"columns {self.prompt}, {self.completion}"

    def require(self, have: Collection[str], path: str) -> None:
        """Raise ValueError unless a file has all columns that were named."""
        for field in fields(self):
            wanted = getattr(self, field.name)
            if wanted is not None and wanted not in have:
                known = ", ".join(sorted(have)[:20]) or "none"
                raise ValueError(
                    f"{path}: has no column {wanted!r} for --{field.name}; it has: {known}"
                )


def read(rows: Rows, path: str, columns: ColumnNames) -> Iterator[Rollout]:
    for row in rows:
        step = None if columns.step is None else row.step(columns.step)
        prompt = asked(row, columns.prompt)
        group = None if columns.group is None else row.name(columns.group)
        refused, reason = verdict(row)
        yield Rollout(
            id=row.where,
            where=row.where,
            prompt=prompt,
            text=written(row, columns.completion),
            group=f"{path}#{step}/{group}" if group else by_prompt(path, step, prompt),
            step=step,
            reward=None if columns.reward is None else row.number(columns.reward),
            sender=None if columns.sender is None else row.name(columns.sender),
            answer=None if columns.answer is None else row.shown(columns.answer),
            masked=refused,
            verdict=reason,
        )
