"""Builds the models of the zoo: corpora, tokenizers, training. Used only by `zoo build`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from swarmproof.registry import did_you_mean


def build(name: str, out: Path, seed: int = 0, log: Callable[[str], None] = print) -> None:
    """Build a shipped model again, in minutes on one core, or fine-tune an added one.

    The same machine gives the same bytes.

    Args:
        name: of a shipped model, or of a recipe that starts from an added one.
        out: the directory to write; created if needed. A fine-tuned model overwrites nothing.
        seed: of the corpus and the weights; the shipped models have seed 0.
        log: called with lines of progress.

    Raises:
        ValueError: there is no such recipe, or the model that it starts from was not added.
    """
    from swarmproof.pretraining import recipes

    known = recipes.RECIPES | recipes.FINE_TUNED
    if name not in known:
        raise ValueError(f"no recipe is called {name!r}{did_you_mean(name, known)}")
    from swarmproof.pretraining import pretrain

    pretrain.train(known[name], out, seed, log)
