"""Prove your swarm against malicious completions: attack, defend, measure decentralised GRPO."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swarmproof.api import Run, load_run, run

    __version__: str

__all__ = ["Run", "__version__", "load_run", "run"]


def __getattr__(name: str) -> Any:
    # Imported on first use, so that `import swarmproof` and every command start fast.
    if name == "__version__":
        from importlib.metadata import version

        return version("swarmproof")
    if name in __all__:
        from swarmproof import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
