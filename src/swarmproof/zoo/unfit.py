"""What transformers raises and prints on files that are damaged or do not fit each other."""

from __future__ import annotations

import json
import pickle
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

_WEIGHTS = (SafetensorError, pickle.UnpicklingError, EOFError)  # of files of weights
# What transformers raises on files that are not there, not whole, or do not fit each other.
UNFIT = (
    *(OSError, ValueError, LookupError, RuntimeError, TypeError, ArithmeticError),
    *(AssertionError, AttributeError, StrictDataclassError, ImportError),
    *_WEIGHTS,
)
_DAMAGED = (*_WEIGHTS, json.JSONDecodeError, UnicodeDecodeError)

MOST_LAYERS = 1_000  # the deepest models have fewer than 200
_LAYER = ".0."  # in a name without the number of its layer


def is_damage(error: Exception) -> bool:
    """Whether an error, raised while a model is read, means a file that is not whole.

    The package tokenizers raises a bare `Exception` for any file that it cannot read.
    """
    return isinstance(error, _DAMAGED) or type(error) is Exception


def wants_code(error: Exception) -> str:
    """What to say if transformers refused a model because its folder has the code to run it."""
    if "trust_remote_code" not in str(error):
        return ""
    return "needs code of its own, which is never run; use a model that transformers itself knows"


def first_line(error: Exception) -> str:
    """The first line of what an error says, with the next one if it ends in a colon."""
    if isinstance(error, pickle.UnpicklingError | EOFError):  # torch advises to run what is in it
        return "its weights are damaged, or hold more than numbers"
    lines = [line.strip() for line in str(error).strip().splitlines()] or [type(error).__name__]
    return " ".join(lines[: 1 + lines[0].endswith(":")]).rstrip(": ")[:300]


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings of transformers, such as its table of weights; `fault` tells what matters."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(before)


def parameters(config: Any) -> int:
    """How many a model of a config has. Takes no memory for them, but some for each layer."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    return sum(weight.numel() for weight in model.parameters())


def fault(model: Any, info: dict[str, Any], config: str) -> str:
    """What is wrong with weights that were loaded; empty if nothing is.

    transformers fills what is missing or of another shape with random numbers, and leaves out the
    layers that a config does not count.

    Args:
        model: from `from_pretrained` with `output_loading_info` and `ignore_mismatched_sizes`.
        info: what it returned beside the model.
        config: what tells the shapes, for the message.
    """
    if missing := sorted(info["missing_keys"]):
        return f"it has no weights for {missing[0]!r:.200} ({len(missing)} are missing)"
    if other := sorted(info["mismatched_keys"]):
        name, stored, told = other[0]
        return (
            f"its weights do not fit {config} ({name!r:.200} is {tuple(stored)}, and not "
            f"{tuple(told)})"
        )
    if more := _used_by_none(info["unexpected_keys"], model.state_dict()):
        return f"its weights do not fit {config} ({min(more)!r:.200} has no place in it)"
    return ""


def _used_by_none(names: Iterable[str], weights: Iterable[str]) -> list[str]:
    """Of the weights without a place, those that are of a layer which the model computes.

    Others are of no use here, such as those that see pictures, masks, and tables of rotations.
    """
    modules = {_any_layer(weight).rpartition(".")[0] for weight in weights}
    within = {m[: end.start()] for m in modules for end in re.finditer(r"\.", m)}
    found = []
    for name in names:
        module, _, kind = _any_layer(name).rpartition(".")
        parent = module.rpartition(".")[0]
        more_of_a_layer = kind == "weight" and parent in within and _LAYER in f".{parent}."
        if module in modules or more_of_a_layer:
            found.append(name)
    return found


def _any_layer(name: str) -> str:
    return re.sub(r"\d+", "0", name)
