"""Check that every prompt, with its completion or solution, fits into the context of a model.

Beyond its context a model uses positions that it never learnt, without any error. Reads
`config.json` and, only if a prompt may be too long, the tokenizer; no weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from swarmproof.policies import shapes
from swarmproof.tasks import Task
from swarmproof.types import Problem
from swarmproof.zoo.locate import config_of, locate, require_plain

# Number of texts that are tokenised at once, longest first.
_BATCH = 64
# Control tokens that a tokenizer may put around a prompt.
_AROUND = 16


def require(
    path: str, task: Task, problems: Iterable[Problem], max_new_tokens: int, key: str
) -> None:
    """Raise ValueError unless all prompts, and completions after them, fit into the context.

    Args:
        path: path of the model: a zoo name, a directory, or a hub id.
        task: makes the prompts.
        problems: the problems whose prompts the model is given.
        max_new_tokens: maximum length of a completion.
        key: name of the config key of the model, for errors.
    """
    context = context_of(path, key)
    if context is None:
        return
    prompts = [(problem.id, task.prompt(problem)) for problem in problems]
    # A token stands for at least one byte. Only Unicode normal forms of rare letters are longer
    # than the letter; a factor of two is far more than occurs.
    room = context - max_new_tokens - _AROUND
    long = [pair for pair in prompts if 2 * len(pair[1].encode("utf-8", "replace")) > room]
    if not long:
        return
    from swarmproof.policies import loader

    tokenizer = loader.load_tokenizer(path, key)
    long.sort(key=lambda pair: -len(pair[1]))
    for start in range(0, len(long), _BATCH):
        batch = long[start : start + _BATCH]
        ids = tokenizer([prompt for _, prompt in batch]).input_ids
        lengths = [len(row) for row in ids]
        _require_fit(path, key, [name for name, _ in batch], lengths, context, max_new_tokens)


def _require_fit(
    path: str,
    key: str,
    names: Sequence[str],
    lengths: Sequence[int],
    context: int,
    max_new_tokens: int,
) -> None:
    longest, name = max(zip(lengths, names, strict=True))
    if longest + max_new_tokens <= context:
        return
    where = f"the prompt of the problem {name!r:.80} has {longest} tokens"
    beyond = f"the context of {key} = {path!r} has {context} positions"
    if longest >= context:
        raise ValueError(f"{where}, and {beyond}; leave the problem out, or use another model")
    raise ValueError(
        f"{where} and sampling.max_new_tokens is {max_new_tokens}, together "
        f"{longest + max_new_tokens}, and {beyond}; set sampling.max_new_tokens to "
        f"{context - longest} or less, or use another model"
    )


def require_taught(path: str, task: Task, lessons: Iterable[tuple[Problem, str]], key: str) -> None:
    """Raise ValueError unless the prompts of a warm-up, and their solutions, fit into the context.

    Args:
        path: path of the model: a zoo name, a directory, or a hub id.
        task: makes the prompts.
        lessons: the problems that are taught, with a solution of each.
        key: name of the config key of the model, for errors.
    """
    context = context_of(path, key)
    if context is None:
        return
    taught = dict.fromkeys((problem.id, task.prompt(problem), text) for problem, text in lessons)
    room = context - _AROUND
    long = [x for x in taught if 2 * len("".join(x[1:]).encode("utf-8", "replace")) > room]
    if not long:
        return
    from swarmproof.policies import loader
    from swarmproof.policies.codec import Codec

    codec = Codec(loader.load_tokenizer(path, key))
    sizes = [
        (len(codec.encode_prompt(p)) + len(codec.encode(text)), name) for name, p, text in long
    ]
    longest, name = max(sizes)
    if longest > context:
        raise ValueError(
            f"the warm-up teaches the problem {name!r:.80}: with its solution it has {longest} "
            f"tokens, and the context of {key} = {path!r} has {context} positions; use another "
            "model, or leave the warm-up out (warmup.steps = 0)"
        )


def context_of(path: str, key: str = "model.path") -> int | None:
    """The number of positions of a model; None if its config has no limit.

    Raises:
        ValueError: its config cannot be read, or is that of a quantized model.
    """
    where = f"{key} = {path!r}"
    config = config_of(path, key)
    told = shapes.positions(config, where) if isinstance(config, dict) else None
    if told is not None:
        return told
    # If the file does not contain the number, the architecture has a default.
    config = _by_transformers(locate(path, key), path, key)
    require_plain(config, where)
    return shapes.positions(config, where)


def _by_transformers(source: str, path: str, key: str) -> dict[str, Any]:
    from transformers import AutoConfig

    from swarmproof.zoo import unfit  # its import takes a while

    try:
        with unfit.quiet():
            return dict(AutoConfig.from_pretrained(source, trust_remote_code=False).to_dict())
    except unfit.UNFIT as error:
        if wants := unfit.wants_code(error):
            raise ValueError(f"{key} = {path!r} {wants}") from None
        raise ValueError(
            f"cannot load the config of {key} = {path!r}: {unfit.first_line(error)}; check its "
            "config.json, or get the model's files again"
        ) from None
