"""The dimensions of a model, from its config or a table, without loading it.

Imports no torch, except to count the parameters of a config (`oversized`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarmproof.zoo.locate import config_of, locate

# Parts of the keys of a config.json that has several feed-forward networks in a layer.
_EXPERTS = ("num_experts", "num_local_experts", "routed_experts")
_UNREADABLE = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError),
)
# Keys of what transformers makes one by one.
_LAYERS, _COUNTED_EXPERTS = re.compile(r"layers?$"), re.compile(r"experts$")
_MOST_EXPERTS = 20_000  # that are tried
_MOST_PER_BYTE = 4  # parameters; a model of 4 bits has 2
# A batch of draws is compacted once this share of its rows, or less, is still growing.
COMPACT_BELOW = 0.8
LONG_ROW = 256  # rows of more tokens keep no attention scores: `long_rows.py`


@dataclass(frozen=True, slots=True)
class Shape:
    """The dimensions of a decoder with gated feed-forward layers, as Llama and Qwen have them."""

    parameters: float
    layers: int
    width: int
    kv_width: int  # key-value heads x head size
    feed_forward: int
    words: int  # embeddings
    heads: int  # of queries


_SMALL = Shape(1.54e9, 28, 1536, 256, 8960, 151_936, 12)
_MIDDLE = Shape(3.09e9, 36, 2048, 256, 11_008, 151_936, 16)
# Qwen2.5 technical report, arXiv 2412.15115, and the models' config.json.
SHAPES: Mapping[str, Shape] = {
    "Qwen/Qwen2.5-1.5B": _SMALL,
    "Qwen/Qwen2.5-Coder-1.5B": _SMALL,
    "Qwen/Qwen2.5-3B": _MIDDLE,
    "Qwen/Qwen2.5-Coder-3B": _MIDDLE,
    "Qwen/Qwen2.5-7B-Instruct": Shape(7.62e9, 28, 3584, 512, 18_944, 152_064, 28),
    "Qwen/Qwen2.5-14B-Instruct": Shape(14.8e9, 48, 5120, 1024, 13_824, 152_064, 40),
    "Qwen/Qwen2.5-32B-Instruct": Shape(32.8e9, 64, 5120, 1024, 27_648, 152_064, 40),
    "smollm2-135m": Shape(134_515_008, 30, 576, 192, 1536, 49_152, 9),
}


def shape_of(path: str) -> Shape | None:
    """The shape of a model: of the table, or as the `config.json` in its folder says.

    None if the model is not on this machine, or its config is of another kind.
    """
    if path in SHAPES:
        return SHAPES[path]
    try:
        table = config_of(path)  # of a hub model, that in the cache
        if table is None or _has_experts(table):
            return None
        width, layers = table["hidden_size"], table["num_hidden_layers"]
        words, feed_forward = table["vocab_size"], table["intermediate_size"]
        heads = table["num_attention_heads"]
        kv_heads = _given(table, "num_key_value_heads", heads)
        size = _given(table, "head_dim", width // heads)
        numbers = (width, layers, words, feed_forward, heads, kv_heads, size)
        if not all(type(number) is int and number > 0 for number in numbers):
            return None
        layer = 2 * width * size * (heads + kv_heads) + 3 * width * feed_forward + 2 * width
        outputs = 1 if table.get("tie_word_embeddings") else 2
        count = layers * layer + outputs * words * width + width
        return Shape(float(count), layers, width, kv_heads * size, feed_forward, words, heads)
    except _UNREADABLE:
        return None


def oversized(path: str) -> str:
    """What a model's config.json tells that its files of weights cannot hold; empty if nothing.

    transformers would take the memory for it before it misses the weights. A model of the hub is
    not asked.
    """
    from transformers import AutoConfig

    from swarmproof.zoo import unfit

    folder = Path(locate(path))
    files = folder.iterdir() if folder.is_dir() else ()
    size = sum(file.stat().st_size for file in files if file.suffix in (".safetensors", ".bin"))
    if not size:
        return ""
    try:
        table = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if many := _many(table, unfit.MOST_LAYERS):
            return f"its config.json tells of {many}"
        with unfit.quiet():
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
            count = unfit.parameters(config)
    except unfit.UNFIT:
        return ""  # loading it says why
    if count <= _MOST_PER_BYTE * size:
        return ""
    return f"its config.json tells of {count:.3g} parameters, and its weights have {size:,} bytes"


def _many(table: dict[str, Any], most_layers: int) -> str:
    """A number of layers or experts of a config that is too large to be tried; empty if none."""
    for key, value in table.items():
        if isinstance(value, dict) and (found := _many(value, most_layers)):
            return found
        for keys, most in ((_LAYERS, most_layers), (_COUNTED_EXPERTS, _MOST_EXPERTS)):
            if keys.search(key) and type(value) in (int, float) and value > most:
                return f"{key!r:.80} = {value!r:.80}, and {most:,} are the most that are tried"
    return ""


def positions(config: dict[str, Any], where: str) -> int | None:
    """The number of positions that a config grants, scaled ones included; None if it has no limit.

    Args:
        config: a `config.json`, or what `to_dict` of transformers gives.
        where: names the model in the error.

    Raises:
        ValueError: a number of the scaling is none.
    """
    inner = config.get("text_config")
    table = inner if isinstance(inner, dict) else config
    told = table.get("max_position_embeddings")
    if type(told) is not int or told < 1:
        return None
    scaling = table.get("rope_scaling") or table.get("rope_parameters")
    return _scaled(scaling, told, where) if isinstance(scaling, dict) else told


def _scaled(scaling: dict[str, Any], told: int, where: str) -> int:
    factor, before = (scaling.get(n) for n in ("factor", "original_max_position_embeddings"))
    for number in (factor, before):
        if number is not None and not (type(number) in (int, float) and 0 < number < 1e9):
            raise ValueError(
                f"{where}: the scaling of positions in its config.json has the number "
                f"{number!r:.80}; correct rope_scaling there, or get the model's files again"
            )
    # To transformers `max_position_embeddings` is the length before scaling with dynamic, and with
    # yarn if no other is given. With llama3 and longrope it is the length after it. With linear it
    # is either: the file does not tell, so it is taken as it is, which is never too long.
    if any(scaling.get(name) in ("yarn", "dynamic") for name in ("rope_type", "type")):
        return max(told, int((before or told) * (factor or 1)))
    return told


def _given(table: dict[str, Any], key: str, default: Any) -> Any:
    return default if table.get(key) is None else table[key]


def _has_experts(table: dict[str, Any]) -> bool:
    """Whether a config, or one within it, has more than one expert."""
    for key, value in table.items():
        if isinstance(value, dict) and _has_experts(value):
            return True
        if any(part in key for part in _EXPERTS) and value not in (None, 0, 1):
            return True
    return False
