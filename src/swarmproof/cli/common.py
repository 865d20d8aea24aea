"""What several commands share: options, seeds, and the writing of JSON files."""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from swarmproof.config import MAX_SEEDS, quote
from swarmproof.steps import first_seeds

MAX_SEED = 2**63 - 1
INTERRUPTED = 130  # what shells use for Ctrl-C
# A full disk. EFBIG: a limit on the size of files is a disk that is full for this process.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a setting (repeatable): `swarmproof list settings`.",
        show_default=False,
    ),
]
Engine = Annotated[str, typer.Option(metavar="[local|ray]", help="This machine, or a Ray cluster.")]
Address = Annotated[
    str | None,
    typer.Option(help="HOST:PORT of the Ray cluster.", show_default="a new one on this machine"),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=65_536,
        help="Trials at once; 0: in this process.",
        show_default="by the cores, or by the cluster",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]


def parse_seeds(text: str | None) -> tuple[int, ...] | None:
    """The seeds that `--seeds` names: `3` is 0, 1, 2; `0,5` and `4,` are lists.

    Raises:
        ValueError: it is neither, too large, or a seed is listed twice.
    """
    if text is None:
        return None
    # 19 digits hold every seed.
    if not re.fullmatch(r"[0-9]{1,19}(,[0-9]{1,19})*,?", text):
        raise ValueError(
            f"--seeds {quote(text)}: give how many (3), or which, with commas (0,1,5 or 4,)"
        )
    if "," not in text:
        if not 1 <= int(text) <= MAX_SEEDS:
            raise ValueError(
                f"--seeds {quote(text)}: give 1 to {MAX_SEEDS} of them, or which, with commas"
            )
        return first_seeds(int(text))
    seeds = tuple(map(int, text.removesuffix(",").split(",")))
    if max(seeds) >= 2**63:
        raise ValueError(f"--seeds {quote(text)}: a seed is less than 2**63")
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"--seeds {quote(text)}: a seed is listed twice")
    return seeds


def write(path: Path, found: dict[str, Any]) -> None:
    """Write what a command found as JSON, with the versions that made it."""
    from swarmproof.records.folder import write_json
    from swarmproof.records.versions import versions

    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, found | {"versions": versions()})


def full(error: OSError, remedy: str) -> OSError | ValueError:
    """The error; if it is a full disk, one that says so, with the remedy."""
    if error.errno not in _FULL:
        return error
    where = f" while writing {error.filename}" if error.filename else ""
    return ValueError(f"the disk is full{where}; {remedy}")
