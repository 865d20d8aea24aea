"""Which files the given paths mean, and how one of them is opened.

Folders are walked in the order of numbers in names, so that steps come in order. A file is read
as far as it reached when the scan began: a trainer may still be writing to it.
"""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from swarmproof.records.streams import COMPLETIONS

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet", ".pt", ".eval")
MAX_FILES = 1_000_000
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}

Advance = Callable[[int], None]  # told how many more bytes of a file were read


@dataclass(frozen=True, slots=True)
class Input:
    """A regular file, as long as it was when the scan began."""

    path: Path
    size: int  # bytes
    named: bool  # the user gave it by name: what is no rollout file is then an error

    def open(self) -> BinaryIO:
        """The file for reading.

        Raises:
            ValueError: it cannot be opened, or it is no regular file (any more).
        """
        try:
            # A pipe that took the place of the file must not make the scan wait for a writer.
            number = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise unreadable(self.path, error) from None
        file = os.fdopen(number, "rb")
        if kind := _KINDS.get(stat.S_IFMT(os.fstat(number).st_mode)):
            file.close()
            raise ValueError(f"{self.path}: is {kind}; name files of completions, or folders")
        return file


def unreadable(path: Path | str, error: OSError) -> ValueError:
    return ValueError(f"{path}: cannot be read: {error.strerror or error}; check path and rights")


def find(paths: Sequence[str]) -> tuple[list[Input], list[Path]]:
    """The files that the paths mean, each once, and those in folders that no reader takes.

    Args:
        paths: files, folders or patterns such as `out/*.parquet`.

    Raises:
        ValueError: a path or pattern leads to nothing, or to something that is no file.
    """
    found: dict[tuple[int, int], Input] = {}
    others: list[Path] = []
    for path in (each for given in paths for each in _expanded(given)):
        before = len(found)
        if path.is_dir():
            for inner in _walk(path):
                if len(found) >= MAX_FILES:
                    raise ValueError(f"{path}: has over {MAX_FILES:,} files; name fewer")
                if inner.suffix in SUFFIXES or inner.name == COMPLETIONS:
                    key, one = _looked_at(inner, named=False)
                    found.setdefault(key, one)
                else:
                    others.append(inner)
            if len(found) == before and not others:
                raise ValueError(f"{path}: has no files; name a folder of {', '.join(SUFFIXES)}")
        else:
            key, one = _looked_at(path, named=True)
            found.setdefault(key, one)
    return list(found.values()), others


def _expanded(given: str) -> list[Path]:
    if os.path.lexists(given):
        return [Path(given)]
    if glob.has_magic(given):
        anchor = Path(given).anchor
        try:
            matches = list(Path(anchor or ".").glob(str(Path(given).relative_to(anchor))))
        except ValueError:
            raise ValueError(f"{given}: is no valid pattern; `**` stands between slashes") from None
        if matches:
            return sorted(matches, key=natural)
        raise ValueError(f"{given}: no file matches this pattern; check it")
    raise ValueError(f"{given}: is not there; check the path")


def _looked_at(path: Path, *, named: bool) -> tuple[tuple[int, int], Input]:
    try:
        told = path.stat()
    except OSError as error:
        raise unreadable(path, error) from None
    if kind := _KINDS.get(stat.S_IFMT(told.st_mode)):
        raise ValueError(f"{path}: is {kind}; name files of completions, or folders")
    return (told.st_dev, told.st_ino), Input(path, told.st_size, named)


def _walk(root: Path) -> Iterator[Path]:
    """The files below a folder. A folder that links lead to twice is walked once."""
    seen: set[tuple[int, int]] = set()
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        try:
            told = folder.stat()
            if (told.st_dev, told.st_ino) in seen:
                continue
            seen.add((told.st_dev, told.st_ino))
            inside = sorted(folder.iterdir(), key=natural)
        except OSError as error:
            raise unreadable(folder, error) from None
        inside = [path for path in inside if not path.name.startswith(".")]
        yield from (path for path in inside if not path.is_dir())
        waiting += reversed([path for path in inside if path.is_dir()])


def natural(path: Path) -> list[tuple[int, str]]:
    """A key that sorts `2.jsonl` before `10.jsonl`."""
    parts = re.split(r"(\d{1,18})", str(path))
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
