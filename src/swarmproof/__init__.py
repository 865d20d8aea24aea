"""Prove your swarm against malicious completions: attack, defend, measure decentralised GRPO."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swarmproof.records.folder import Run, load_run

__all__ = ["Run", "load_run"]


def __getattr__(name: str) -> Any:
    # Late, so that `import swarmproof`, and with it every command's first word, stays fast.
    if name in __all__:
        from swarmproof.records import folder

        return getattr(folder, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
