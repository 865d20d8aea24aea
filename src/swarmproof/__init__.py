"""Prove your swarm against malicious completions: attack, defend, measure decentralised GRPO."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swarmproof.guard.guard import Guard
    from swarmproof.records.folder import Run, load_run
    from swarmproof.types import Group

    __version__: str

__all__ = ["Group", "Guard", "Run", "__version__", "load_run"]

_HOMES = {
    "Group": "swarmproof.types",
    "Guard": "swarmproof.guard.guard",
    "Run": "swarmproof.records.folder",
    "load_run": "swarmproof.records.folder",
}


def __getattr__(name: str) -> Any:
    # Late, so that `import swarmproof`, and with it every command's first word, stays fast.
    if name == "__version__":
        from importlib.metadata import version

        return version("swarmproof")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
