"""Whether models can train together: what one writes, all others must be able to read.

Reads tokenizers only, so that a mistake is told before any model is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence

from swarmproof.policies import loader
from swarmproof.tasks import Task

_PROBLEMS = 8  # of the task that are tried


def require(paths: Sequence[str], task: Task, max_new_tokens: int) -> None:
    """Pass if each of the models can write a right answer of the task that the others can read.

    Tags of the answer format need be in no vocabulary: they are text.

    Args:
        max_new_tokens: the longest completion that a node admits, in its own tokens.

    Raises:
        ValueError: one of them has no tokenizer or no end-of-text, changes text when it reads it,
            or needs more tokens for it.
    """
    texts = [task.oracle(problem) for problem in task.problems("train")[:_PROBLEMS]]
    for path in paths:
        tokenizer = loader.load_tokenizer(path, "swarm.models")
        read = [
            tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
            for text in texts
        ]
        survive = [
            ids
            for ids, text in zip(read, texts, strict=True)
            if tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text
        ]
        where = f"swarm.models: {path!r} cannot share the task {task.name!r}"
        if not survive:
            raise ValueError(
                f"{where}: its tokenizer does not give {texts[0]!r:.60} back; leave the model out"
            )
        if (shortest := min(map(len, survive))) > max_new_tokens:
            raise ValueError(
                f"{where}: a right answer has {shortest} of its tokens or more; raise "
                f"sampling.max_new_tokens above {max_new_tokens}"
            )
