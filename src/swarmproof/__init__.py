"""Prove your swarm against malicious completions: attack, defend, measure decentralised GRPO."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swarmproof.api import run
    from swarmproof.guard.guard import Guard
    from swarmproof.records.run import Run, load_run
    from swarmproof.types import Group

    __version__: str

__all__ = ["Group", "Guard", "Run", "__version__", "load_run", "run"]

_HOMES = {
    "Group": "swarmproof.types",
    "Guard": "swarmproof.guard.guard",
    "Run": "swarmproof.records.run",
    "load_run": "swarmproof.records.run",
    "run": "swarmproof.api",
}


def __getattr__(name: str) -> Any:
    # Imported on first use, so that `import swarmproof` and every command start fast.
    if name == "__version__":
        from importlib.metadata import version

        return version("swarmproof")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
