"""Where models are: the tiny ones that ship with the package, a folder, or the hub.

A shipped model is an ordinary Hugging Face directory. Looking one up imports neither torch nor
transformers. The recipes that made them are in `pretraining`.
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
    """The models that ship."""
    return _NAMES


def path(name: str) -> Path:
    """The directory of a shipped model, for `AutoModelForCausalLM.from_pretrained`.

    Raises:
        ValueError: no model is called so.
    """
    if name not in _NAMES:
        raise ValueError(f"no tiny model is called {name!r}{did_you_mean(name, _NAMES)}")
    return _MODELS / name
