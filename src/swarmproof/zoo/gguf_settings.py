"""Settings of a GGUF that change what its model computes, and that transformers may not read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import inf, isclose
from typing import Any

# Behind the architecture. For each: the values that change nothing, and its name in a config.
KEYS: Mapping[str, tuple[tuple[object, ...], str]] = {
    "rope.scaling.type": (("none", "linear"), "rope_type"),  # linear: as its factor says
    "rope.scaling.factor": ((0, 1), "factor"),
    "rope.scaling.attn_factor": ((0, 1), "attention_factor"),
    "rope.scale_linear": ((0, 1), "factor"),
    "rope.scaling.alpha": ((0, 1), "alpha"),
    "rope.scaling.yarn_log_multiplier": ((0,), "mscale_all_dim"),
    "rope.freq_base": ((), "rope_theta"),
    "rope.dimension_count": ((0,), "qk_rope_head_dim"),
    "attention.causal": ((True,), "is_causal"),
    "attention.scale": ((0,), "attention_multiplier"),
    "attention.clamp_kqv": ((0,), "clip_qkv"),
    "attention.temperature_scale": ((0,), "attn_scale"),
    "attention.sliding_window": ((0,), "sliding_window"),
    "attn_logit_softcapping": ((0,), "attn_logit_softcapping"),
    "final_logit_softcapping": ((0,), "final_logit_softcapping"),
    "logit_scale": ((0, 1), "logit_scale"),
    "embedding_scale": ((0, 1), "embedding_multiplier"),
    "residual_scale": ((0, 1), "residual_multiplier"),
    "expert_weights_scale": ((0, 1), "routed_scaling_factor"),
}


def ignored(config: dict[str, Any], architecture: str, settings: Mapping[str, object]) -> str:
    """Which setting of a file is not in the config that transformers made of it; empty if none.

    A setting is in it as well if the default of the architecture is the same.

    Args:
        config: of transformers, as a table.
        architecture: the name of the GGUF for it.
        settings: of the file, by key behind the architecture.
    """
    context = config.get("max_position_embeddings") or inf
    usual = _usual(config)
    for key, value in settings.items():
        harmless, name = KEYS[key]
        held = (*_all(config, name), *usual.get(key, ()))
        if value in harmless or any(_same(value, known) for known in held):
            continue
        # A window as long as the context hides nothing.
        if key != "attention.sliding_window" or not isinstance(value, int) or value < context:
            return (
                f"it has {key} = {value!r:.80}, which a {architecture:.80} of transformers "
                "does not read"
            )
    return ""


def _usual(config: dict[str, Any]) -> dict[str, tuple[float, ...]]:
    """What a config has of some settings without a name for them."""
    width, heads = config.get("hidden_size"), config.get("num_attention_heads")
    if not (head := config.get("head_dim") or (width and heads and width // heads)):
        return {}
    turned = tuple(head * part for part in _all(config, "partial_rotary_factor") if part)
    return {"attention.scale": (head**-0.5,), "rope.dimension_count": turned or (head,)}


def _all(table: dict[str, Any], name: str) -> Iterator[Any]:
    """The values of a name in a config and in the tables within it."""
    for key, value in table.items():
        if key == name:
            yield value
        if isinstance(value, dict):
            yield from _all(value, name)


def _same(value: object, known: object) -> bool:
    if isinstance(value, int | float) and isinstance(known, int | float):
        return isclose(value, known, rel_tol=1e-6)  # a GGUF has 32 bits of it
    return value == known
