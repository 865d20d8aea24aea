"""The environment of a run: versions, processor, commit. No host name, no user, no path."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

_PACKAGES = ("swarmproof", "torch", "transformers", "tokenizers", "numpy")


def versions() -> dict[str, str | None]:
    """Versions by name; `commit` is None unless the package is in a git checkout."""
    return {
        **{name: version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "commit": _commit(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _commit() -> str | None:
    """The commit of this source, with the suffix `-dirty` if the source was changed since."""
    here = Path(__file__).resolve()
    # An environment may be inside the checkout of another project, so check that git tracks this
    # file.
    tracked = _git(here.parent, "ls-files", "--error-unmatch", here.name)
    if not tracked or not (commit := _git(here.parent, "rev-parse", "HEAD")):
        return None
    changed = _git(here.parent, "status", "--porcelain", "--untracked-files=no")
    return commit if changed == "" else f"{commit}-dirty"


def _git(folder: Path, *arguments: str) -> str | None:
    # Without locks: a process that is killed meanwhile would leave one behind, with which the
    # user's next commit fails. (`describe --dirty` takes one all the same.)
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
