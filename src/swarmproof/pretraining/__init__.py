"""How the models of the zoo were made: corpora, tokenizers, training. Only `zoo build` needs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from swarmproof import zoo


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
    zoo.path(name)
    from swarmproof.pretraining import pretrain, recipes

    pretrain.train(recipes.RECIPES[name], out, seed, log)
