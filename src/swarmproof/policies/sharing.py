"""Check that models can train together: each must be able to read the text of all others.

Reads tokenizers only, so that a mistake is reported before any model is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence

from swarmproof.policies import loader
from swarmproof.policies.codec import Codec
from swarmproof.tasks import Task
from swarmproof.types import Tokens

_PROBLEMS = 8  # number of the task's problems that are tried


def require(paths: Sequence[str], task: Task, max_new_tokens: int) -> None:
    """Raise ValueError unless each model can write a right answer that all others can read.

    The tags of the answer format need not be in any vocabulary: they are ordinary text.

    Args:
        max_new_tokens: the longest completion that a node admits, in its own tokens.

    Raises:
        ValueError: a model has no tokenizer or no end-of-text, changes text when it reads it
            (including leading white space, which models write), or needs more tokens for it.
    """
    texts = [task.oracle(problem) for problem in task.problems("train")[:_PROBLEMS]]
    for path in paths:
        tokenizer = loader.load_tokenizer(path, "swarm.models")
        codec = Codec(tokenizer)
        read = {text: ids for text in texts if (ids := _read(codec, text))}
        survive = [ids[:-1] for ids in read.values()]
        where = f"swarm.models: {path!r} cannot share the task {task.name!r}"
        if not survive:
            raise ValueError(
                f"{where}: its tokenizer does not give {texts[0]!r:.60} back; leave the model out"
            )
        text = next(iter(read))
        for space in (" ", "\n"):
            if not _read(codec, space + text):
                raise ValueError(
                    f"{where}: its tokenizer does not give {space + text!r:.60} back, a right "
                    f"answer with {space!r} in front, as models write it; leave the model out"
                )
        if (shortest := min(map(len, survive))) > max_new_tokens:
            raise ValueError(
                f"{where}: a right answer has {shortest} of its tokens or more; raise "
                f"sampling.max_new_tokens above {max_new_tokens}"
            )


def _read(codec: Codec, text: str) -> Tokens | None:
    """A text as a receiver reads it; None if the receiver would refuse it."""
    try:
        return codec.encode(text)
    except ValueError:
        return None
