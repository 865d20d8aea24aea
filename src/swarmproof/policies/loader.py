"""Loads a Hugging Face causal LM, set up for packed attention, with its tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from swarmproof.policies.attention import NAME as ATTENTION
from swarmproof.zoo.locate import locate


def load(path: str, dtype: str, device: str, table: str = "model") -> tuple[Any, Any]:
    """The tokenizer and the model, in evaluation mode.

    Args:
        path: a name in the zoo, a directory, or a hub id.
        dtype: `float32` or `bfloat16`.
        device: `cpu`, `cuda` or `cuda:N`.
        table: of the config that asks for it, to be named in errors.

    Raises:
        ValueError: the model cannot be found, reached or used; names the remedy.
    """
    key = f"{table}.path"
    source = locate(path, key)
    transformers_logging.disable_progress_bar()
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(
            f"{table}.device is {device}, and torch sees no GPU; set {table}.device to cpu"
        )
    tokenizer = load_tokenizer(path, key)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            source, dtype=getattr(torch, dtype), attn_implementation=ATTENTION
        )
    except (OSError, ValueError, KeyError) as error:
        raise _cannot_load(key, path, error) from None
    if found := unsupported(model):
        raise ValueError(
            f"{path!r} uses {found}, which packed attention does not compute; use a "
            "model with plain causal attention in all layers (Qwen2, Qwen3, Llama, …)"
        )
    require_finite(model, f"{key} = {path!r}")
    model.to(device).eval()
    if len(tokenizer) < model.config.vocab_size:
        _hide_padding(model, len(tokenizer))
    return tokenizer, model


def require_finite(model: Any, where: str = "this model") -> None:
    """Raise ValueError unless all weights are finite numbers.

    Args:
        where: names the model in the error.
    """
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            bad = int((~weight.isfinite()).sum())
            raise ValueError(
                f"{where} has {bad} NaN or infinite numbers in its weight {name}; "
                "save the model anew, or download it again"
            )


def load_tokenizer(path: str, key: str = "model.path") -> Any:
    """The tokenizer of a model, which can read something and knows an end.

    Args:
        path: a name in the zoo, a directory, or a hub id.
        key: of the config that asks for it, to be named in errors.

    Raises:
        ValueError: there is none, or it cannot be used; names the remedy.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(locate(path, key))
    except (OSError, ValueError, KeyError) as error:
        raise _cannot_load(key, path, error) from None
    # transformers gives some models without one a tokenizer that knows no text.
    if not tokenizer("0", add_special_tokens=False).input_ids:
        raise ValueError(
            f"{key} = {path!r} has no tokenizer; put the files of one, such as tokenizer.json, "
            "beside the model"
        )
    if tokenizer.eos_token_id is None:
        raise ValueError(
            f"the tokenizer of {key} = {path!r} has no end-of-text token; set eos_token in its "
            "tokenizer_config.json"
        )
    return tokenizer


def _cannot_load(key: str, path: str, error: Exception) -> ValueError:
    first = str(error).strip().splitlines()[0].rstrip(": ")
    return ValueError(
        f"cannot load {key} = {path!r}: {first}; check the name, that its tokenizer is with it, "
        "and that the hub can be reached or the model is in the local cache"
    )


@contextmanager
def packed(model: Any, vocab_size: int) -> Iterator[None]:
    """Let a model compute packed rows for a while, whoever loaded it, and leave it as it was.

    A model of `load` is ready already, and nothing is done. Another one's attention, training mode
    and padded logits are somebody else's: a trainer goes on with it behind us.
    """
    if model.config._attn_implementation == ATTENTION:
        yield
        return
    before = model.config._attn_implementation
    # Of each module: a trainer may have put some of them into evaluation mode.
    modes = [(module, module.training) for module in model.modules()]
    hidden = None
    try:
        if vocab_size < model.config.vocab_size:
            hidden = _hide_padding(model, vocab_size)
        model.set_attn_implementation(ATTENTION)
        model.eval()
        yield
    finally:
        model.set_attn_implementation(before)
        for module, mode in modes:
            module.training = mode
        if hidden is not None:
            hidden.remove()


def _hide_padding(model: Any, vocab_size: int) -> Any:
    """Give the ids beyond the vocabulary no probability, wherever logits are used.

    Embeddings are often padded beyond it; such ids decode to nothing at all, and whoever drew one
    would be refused.
    """
    beyond = torch.arange(model.config.vocab_size, device=model.device) >= vocab_size

    def hide(_module: object, _inputs: object, logits: Tensor) -> Tensor:
        return logits.masked_fill(beyond, float("-inf"))

    return model.get_output_embeddings().register_forward_hook(hide)


def unsupported(model: Any) -> str:
    """What a model's attention needs beyond the plain causal one; empty if nothing."""
    config = model.config
    # The mask that packing replaces is asked for by newer models only, all of which rotate.
    if not getattr(model, "_supports_attention_backend", False):
        return "attention of its own"
    if getattr(config, "rope_parameters", None) is None:
        return "positions other than rotary ones"
    layers = set(getattr(config, "layer_types", None) or ["full_attention"])
    if layers != {"full_attention"}:
        return f"layers of {', '.join(sorted(layers - {'full_attention'}))}"
    if getattr(config, "layer_types", None) is None and getattr(config, "sliding_window", None):
        return "a sliding window"
    if getattr(config, "attn_logit_softcapping", None):
        return "soft-capped attention"
    return ""
