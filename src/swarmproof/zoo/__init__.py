"""The tiny models that ship with the package, and the recipes that made them.

A shipped model is an ordinary Hugging Face directory. Looking one up imports neither torch nor
transformers; building one does.
"""

from __future__ import annotations

from collections.abc import Callable
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


def build(name: str, out: Path, seed: int = 0, log: Callable[[str], None] = print) -> None:
    """Makes a shipped model again, in minutes on one core; same bytes on the same machine.

    Args:
        name: of a shipped model.
        out: the directory to write; made if it is not there.
        seed: of the corpus and of the weights; the shipped model has 0.
        log: called with a line of progress now and then.

    Raises:
        ValueError: no model is called so.
    """
    path(name)
    from swarmproof.zoo import pretrain, recipes

    pretrain.train(recipes.RECIPES[name], out, seed, log)
