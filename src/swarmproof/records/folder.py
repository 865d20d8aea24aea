"""The run folder: the files that an experiment writes to disk, and how they are read.

Knows names and layout (docs/metrics.md), but not how a trial is run. `streams.py` reads and writes
the records of trials; `summary.py` computes the results from them.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from swarmproof import registry
from swarmproof.attacks.base import Attack
from swarmproof.config import ExperimentConfig, comparing, validate
from swarmproof.records import summary
from swarmproof.records.streams import (
    read_rounds,
    read_timings,
)
from swarmproof.records.versions import versions

if TYPE_CHECKING:
    pass


CONFIG, VERSIONS, SUMMARY = "config.json", "versions.json", "summary.json"


class RunFolder:
    """A run on disk. Made by `create` (to write, locked) or `open` (to read)."""

    def __init__(self, path: Path, config: ExperimentConfig, lock: BinaryIO | None) -> None:
        self.path = path
        self.config = config
        self._lock = lock

    @classmethod
    def create(cls, path: Path, config: ExperimentConfig, *, resume: bool) -> RunFolder:
        """Start a run in an empty or new folder, or continue the run in the folder.

        The folder belongs to this process until `close`, by an advisory lock on `.lock`.

        Args:
            path: made with its parents if missing.
            config: written to `config.json`; when resuming, it must equal the existing one, or ask
                for more rounds of it.
            resume: continue the run in the folder, if there is one; otherwise start a new run.

        Raises:
            ValueError: one line with the remedy: the folder holds a run or something else, is in
                use, cannot be written, or was made with another config.
        """
        for arm in config.arms:
            if not re.fullmatch(r"\w[\w.-]*", arm):
                raise ValueError(
                    f"the arm {arm!r} cannot name a folder; use letters, digits, '.', '_' and '-'"
                )
        held = None
        try:
            path.mkdir(parents=True, exist_ok=True)
            if not (path / CONFIG).exists() and _content(path):
                raise ValueError(
                    f"{path} is not empty and not a run folder; choose another with --out"
                )
            held = lock(path)
            if (path / CONFIG).exists():
                if not resume:
                    raise ValueError(
                        f"{path} already holds a run; go on with it by --resume, or choose "
                        "another folder with --out"
                    )
                old, new = read_json(path, CONFIG), config.model_dump(mode="json")
                comparing.refuse_other(str(path), old, new)
                if old != new:  # more rounds: what had finished has not finished now
                    (path / SUMMARY).unlink(missing_ok=True)
                    write_json(path / CONFIG, new)
                    cls(path, config, None).write_summary()
            else:
                write_json(path / VERSIONS, versions())
                # Written last: a folder with a config is a run folder.
                write_json(path / CONFIG, config.model_dump(mode="json"))
        except OSError as error:
            _release(held)
            raise ValueError(
                f"cannot write to {path}: {error.strerror}; choose another folder with --out"
            ) from None
        except ValueError:
            _release(held)
            raise
        return cls(path, config, held)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open a run folder for reading, finished or not, even while it is being written.

        Raises:
            ValueError: it is not a run folder, or its config is not valid here (for example
                because a plug-in is not installed).
        """
        table = read_json(path, CONFIG)
        try:
            return cls(path, validate(ExperimentConfig, table), None)
        except ValueError as error:
            raise ValueError(f"{path / CONFIG}: {error}") from None

    def trial_folder(self, arm: str, seed: int) -> Path:
        """The folder of one trial, for its streams and its checkpoint."""
        return trial_folder(self.path, arm, seed)

    def write_summary(self) -> dict[str, Any]:
        """Compute `summary.json` from the records written so far, and replace the file atomically.

        Raises:
            ValueError: a stream is damaged.
            OSError: the folder cannot be written; the old summary then remains.
        """
        arms = {}
        for arm, trial in self.config.arms.items():
            trials = []
            for seed in self.config.seeds:
                folder = self.trial_folder(arm, seed)
                if rounds := read_rounds(folder):
                    trials.append(summary.SeedResult(seed, rounds, read_timings(folder)))
            if trials:
                attack = registry.build(Attack, trial.attack)
                arms[arm] = summary.summarise_arm(
                    trials,
                    planned_rounds=trial.rounds,
                    measure=attack.measure,
                    nodes={members.name: len(members.nodes) for members in trial.cohorts},
                )
        table = {"experiment": self.config.name, "claim": self.config.claim, "arms": arms}
        write_json(self.path / SUMMARY, table)
        return table

    def export(self, path: Path) -> None:
        """Write the results of the run and its versions as one small JSON file: a claim as data.

        Raises:
            ValueError: the run has no summary yet.
            OSError: the file cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        parts = {name: read_json(self.path, f"{name}.json") for name in ("versions", "config")}
        write_json(path, read_json(self.path, SUMMARY) | parts)

    def close(self) -> None:
        """Release the folder for other processes."""
        _release(self._lock)
        self._lock = None


def trial_folder(path: Path, arm: str, seed: int) -> Path:
    return path / "trials" / arm / f"seed-{seed}"


def _content(path: Path) -> list[str]:
    """The files in a folder, except hidden files (our lock, files of the desktop) and the versions,
    which are written before the config."""
    return [p.name for p in path.iterdir() if not p.name.startswith(".") and p.name != VERSIONS]


def lock(path: Path) -> BinaryIO:
    """Lock a folder for this process until the file is closed.

    Raises:
        ValueError: another process holds the lock.
        OSError: the folder cannot be written.
    """
    file = (path / ".lock").open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise ValueError(
            f"{path} is in use by another process; wait for it, or choose another with --out"
        ) from None
    return file


def _release(lock: BinaryIO | None) -> None:
    if lock is not None:
        lock.close()


def read_json(path: Path, name: str, remedy: str = "") -> dict[str, Any]:
    """Read a table that `write_json` wrote into the folder `path`.

    Args:
        path: the folder.
        name: of the file.
        remedy: ends the error of a damaged file.

    Raises:
        ValueError: the file is missing, cannot be read or is damaged; one line.
    """
    end = f"; {remedy}" if remedy else ""
    try:
        table = json.loads((path / name).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        what = f"is not a run folder: it has no {name}" if path.exists() else "is not there"
        raise ValueError(f"{path} {what}") from None
    except OSError as error:
        raise ValueError(f"cannot read {path / name}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path / name} is damaged: {error}{end}") from None
    if isinstance(table, dict):
        return table
    raise ValueError(f"{path / name} is damaged: it is not a table{end}")


def write_json(path: Path, table: Mapping[str, Any]) -> None:
    """Replace a file atomically: a reader sees the complete old or the complete new file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", errors="backslashreplace") as file:
            json.dump(table, file, indent=2, ensure_ascii=False, allow_nan=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
