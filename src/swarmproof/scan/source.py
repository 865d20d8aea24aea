"""The rollouts of several files, to be read again and again: what checks are given.

The same order and the same ids each time. Memory grows by one small number for each id that a file
brings, never by texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from swarmproof.scan.readers import run_folder
from swarmproof.scan.readers.columns import ColumnNames
from swarmproof.scan.readers.inputs import Input, find
from swarmproof.scan.readers.recognise import NotRolloutsError, Readable, recognise
from swarmproof.scan.rollout import Rollout

_MANY = 10_000  # senders and steps that are counted


@dataclass(slots=True)
class Tally:
    """What one reading met."""

    completions: int = 0
    with_ids: int = 0
    with_reward: int = 0
    refused: int = 0  # by a guard, as the file says
    steps: dict[int, int] = field(default_factory=dict)  # completions of each
    senders: set[str] = field(default_factory=set)

    def add(self, rollout: Rollout) -> None:
        self.completions += 1
        self.with_ids += rollout.token_ids is not None
        self.with_reward += rollout.reward is not None
        self.refused += rollout.verdict is not None
        step = rollout.step
        if step is not None and (step in self.steps or len(self.steps) < _MANY):
            self.steps[step] = self.steps.get(step, 0) + 1
        if rollout.sender is not None and len(self.senders) < _MANY:
            self.senders.add(rollout.sender)


@dataclass(frozen=True, slots=True)
class Source:
    """Files that have been recognised."""

    files: tuple[Readable, ...]
    skipped: tuple[str, ...]  # files in folders that were not read, and why

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(file.source.size for file in self.files)

    @property
    def formats(self) -> dict[str, int]:
        """The number of files of each format."""
        names = [file.format for file in self.files]
        return {name: names.count(name) for name in dict.fromkeys(names)}

    def read(
        self, tally: Tally | None = None, advance: Callable[[int], None] | None = None
    ) -> Iterator[Rollout]:
        """All rollouts in order, with ids that are unique.

        Args:
            tally: counts what is read.
            advance: told how many more bytes were read.

        Raises:
            ValueError: a file is broken; one line with file, line and remedy.
        """
        seen: set[int] = set()
        for file in self.files:
            for rollout in file.read(advance or _ignore):
                if rollout.id != rollout.where:
                    key = hash(rollout.id)
                    if key in seen:
                        rollout = replace(rollout, id=f"{rollout.id}@{rollout.where}")
                    seen.add(key)
                if tally is not None:
                    tally.add(rollout)
                yield rollout


def _ignore(_: int) -> None:
    pass


def open_source(paths: Sequence[str], columns: ColumnNames | None = None) -> Source:
    """Recognise the files that paths mean.

    Args:
        paths: files, folders, patterns.
        columns: read these columns of every file, whatever its format.

    Raises:
        ValueError: nothing is there, a file that was named is no rollout file, a file is broken.
    """
    inputs, others = find(paths)
    files: list[Readable] = []
    skipped = [f"{path}: is no file of rollouts by its name" for path in others]
    for source in inputs:
        if _is_copy(source):
            skipped.append(f"{source.path}: its traces are in the folder `all` beside it")
            continue
        try:
            files.append(recognise(source, columns))
        except NotRolloutsError as error:
            if source.named:
                raise
            skipped.append(str(error))
    if not files:
        more = f", and {len(skipped) - 1:,} more files" if len(skipped) > 1 else ""
        raise ValueError(f"no file of rollouts is there: {skipped[-1]}{more}")
    if len(_trials(files)) > 1:
        files = [
            replace(file, read=partial(run_folder.read, file.source, one_of_many=True))
            if file.format == run_folder.NAME
            else file
            for file in files
        ]
    return Source(tuple(files), tuple(skipped))


def _trials(files: Sequence[Readable]) -> list[Readable]:
    return [file for file in files if file.format == run_folder.NAME]


def _is_copy(source: Input) -> bool:
    """Whether prime-rl wrote the same traces twice, to `all` and, as far as it trained on them, to
    `effective`."""
    folder = source.path.parent
    if folder.name != "effective" or source.named:
        return False
    whole = folder.parent / "all" / source.path.name
    return whole.is_file()
