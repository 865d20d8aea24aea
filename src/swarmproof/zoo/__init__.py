"""The models that ship with the package, and how any model is located.

A shipped model is an ordinary Hugging Face directory. Looking it up imports neither torch nor
transformers. The recipes that made these models are in `pretraining`.
"""

from __future__ import annotations

from pathlib import Path

from swarmproof.registry import did_you_mean

_MODELS = Path(__file__).parent / "models"
_NAMES = (
    *("tiny-math", "tiny-math-wide", "tiny-math-llama"),
    *("tiny-code", "tiny-code-wide", "tiny-code-llama"),
    "tiny-judge",
)


def names() -> tuple[str, ...]:
    """The names of the shipped models."""
    return _NAMES


def path(name: str) -> Path:
    """The directory of a shipped model, for `AutoModelForCausalLM.from_pretrained`.

    Raises:
        ValueError: there is no shipped model of that name.
    """
    if name not in _NAMES:
        raise ValueError(f"no shipped model is called {name!r}{did_you_mean(name, _NAMES)}")
    return _MODELS / name
