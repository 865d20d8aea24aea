"""Loads a Hugging Face causal LM, set up for packed attention, with its tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from swarmproof.policies import selftest, shapes
from swarmproof.policies.attention import NAME as ATTENTION
from swarmproof.policies.codec import Codec, require_distinct
from swarmproof.zoo import unfit
from swarmproof.zoo.locate import config_of, files_of, locate, require_whole

# What configs of transformers call a soft cap of the last logits.
_LOGIT_CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
_ONE_VERSION = "get the model's files again, all of one version"


def load(
    path: str, dtype: str, device: str, table: str = "model", *, self_test: bool = True
) -> tuple[Any, Any]:
    """The tokenizer and the model, in evaluation mode.

    Args:
        path: a name in the zoo, a directory, or a hub id.
        dtype: `float32` or `bfloat16`.
        device: `cpu`, `cuda` or `cuda:N`.
        table: name of the config table that requests it, for error messages.
        self_test: compute a few rows, and refuse a model whose packed attention differs.

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
    config_of(path, key)  # refuses a quantized model
    require_whole(path, key)
    if wrong := shapes.oversized(path):
        raise ValueError(f"{key} = {path!r}: {wrong}; {_ONE_VERSION}")
    tokenizer = load_tokenizer(path, key)
    try:
        with unfit.quiet():
            model, info = AutoModelForCausalLM.from_pretrained(
                source,
                dtype=getattr(torch, dtype),
                attn_implementation=ATTENTION,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are named below
                trust_remote_code=False,
            )
    except torch.OutOfMemoryError:
        raise
    except unfit.UNFIT as error:
        raise _cannot_load(key, path, error, found=not isinstance(error, OSError)) from None
    config_of(path, key)  # again: those of a hub model may be there only now
    require_whole(path, key)
    if wrong := unfit.fault(model, info, "its config.json"):
        raise ValueError(f"{key} = {path!r}: {wrong}; {_ONE_VERSION}")
    if found := unsupported(model):
        raise ValueError(
            f"{path!r} uses {found}, which packed attention does not compute; use a "
            "model with plain causal attention in all layers (Qwen2, Qwen3, Llama, …)"
        )
    require_finite(model, f"{key} = {path!r}")
    codec = codec_of(model, tokenizer, f"{key} = {path!r}")
    model.to(device).eval()
    _hide_unknown(model, codec)
    if self_test:
        selftest.require(model, codec, f"{key} = {path!r}")
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


def codec_of(model: Any, tokenizer: Any, where: str = "this model") -> Codec:
    """The codec of a model: its tokenizer, and every end-of-text token that its configs declare.

    Args:
        where: names the model in the error.

    Raises:
        ValueError: tokenizer and model do not belong together; names the remedy.
    """
    require_distinct(tokenizer, where)
    layers = (model.get_input_embeddings(), model.get_output_embeddings())
    rows = min(len(layer.weight) for layer in layers)
    known = Codec(tokenizer).known_ids
    if max(known) >= rows:
        raise ValueError(
            f"{where}: its tokenizer has the token id {max(known)}, and the model has {rows} "
            "embeddings; use the tokenizer that the model was trained with, or enlarge the model "
            "with resize_token_embeddings"
        )
    # An id that stands for no token cannot be sampled. It is mostly a default of a config class.
    ends = {end for end in _declared_ends(model, where) if end in known}
    control = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    if ordinary := sorted(ends - control):
        raise ValueError(
            f"{where} declares as its end-of-text the token {ordinary[0]}, which is the ordinary "
            f"text {tokenizer.decode(ordinary[:1])!r}; correct eos_token_id in its config.json "
            "and generation_config.json"
        )
    codec = Codec(tokenizer, rows, ends)
    caps = [name for name in _LOGIT_CAPS if getattr(model.config.get_text_config(), name, None)]
    if caps and codec.unknown_ids:  # a cap makes of minus infinity a number
        raise ValueError(
            f"{where} caps its logits ({caps[0]}), and {len(codec.unknown_ids)} of its embeddings "
            "have no token, which cannot be hidden then; use a model whose embeddings all have one"
        )
    return codec


def _declared_ends(model: Any, where: str) -> set[int]:
    found: set[int] = set()
    for file, config in (
        ("config.json", model.config.get_text_config()),
        ("generation_config.json", getattr(model, "generation_config", None)),
    ):
        told = getattr(config, "eos_token_id", None)
        ends = [] if told is None else told if isinstance(told, list | tuple) else [told]
        for end in ends:
            if type(end) is not int:  # a bool is none, though Python counts with it
                raise ValueError(
                    f"{where} declares as its end-of-text {end!r:.80}, which is no token id; "
                    f"correct eos_token_id in its {file}, or get the model's files again"
                )
        found.update(ends)
    return found


def load_tokenizer(path: str, key: str = "model.path") -> Any:
    """The tokenizer of a model, checked to encode text and to have an end-of-text token.

    Args:
        path: a name in the zoo, a directory, or a hub id.
        key: name of the config key that requests it, for error messages.

    Raises:
        ValueError: there is no tokenizer, or it cannot be used; names the remedy.
    """
    try:
        with unfit.quiet():
            tokenizer = AutoTokenizer.from_pretrained(locate(path, key), trust_remote_code=False)
    except Exception as error:
        if not isinstance(error, unfit.UNFIT) and not unfit.is_damage(error):
            raise
        # transformers then tries to read the file in another format, and names the wrong package.
        misled = "tiktoken" in str(error) and find_spec("sentencepiece") is None
        if misled and any(file.name == "tokenizer.model" for file in files_of(path, key)):
            raise ValueError(
                f"cannot load {key} = {path!r}: its tokenizer.model is read by the package "
                "sentencepiece, which is not installed; pip install sentencepiece, or put a "
                "tokenizer.json beside the model"
            ) from None
        found = isinstance(error, StrictDataclassError)
        raise _cannot_load(key, path, error, found=found) from None
    # For some models without a tokenizer, transformers returns one that cannot encode text.
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
    require_distinct(tokenizer, f"{key} = {path!r}")
    return tokenizer


def _cannot_load(key: str, path: str, error: Exception, *, found: bool) -> ValueError:
    """`found`: its files were found, and cannot be used."""
    if wants := unfit.wants_code(error):
        return ValueError(f"{key} = {path!r} {wants}")
    if unfit.is_damage(error):
        remedy = "get the model's files again"
    elif found:
        remedy = "check its config.json, or get the model's files again"
    else:
        remedy = (
            "check the name, that its tokenizer is with it, and that the hub can be reached or "
            "the model is in the local cache"
        )
    return ValueError(f"cannot load {key} = {path!r}: {unfit.first_line(error)}; {remedy}")


@contextmanager
def packed(model: Any, codec: Codec) -> Iterator[None]:
    """Context in which a model computes packed rows; afterwards the model is as it was.

    A model from `load` is ready already, and nothing is done. The attention, training mode and
    padded logits of any other model are restored, because its trainer continues to use it.
    """
    if model.config._attn_implementation == ATTENTION:
        yield
        return
    before = model.config._attn_implementation
    # Saved for each module: a trainer may have put some modules into evaluation mode.
    modes = [(module, module.training) for module in model.modules()]
    hidden = None
    try:
        hidden = _hide_unknown(model, codec)
        model.set_attn_implementation(ATTENTION)
        model.eval()
        yield
    finally:
        model.set_attn_implementation(before)
        for module, mode in modes:
            module.training = mode
        if hidden is not None:
            hidden.remove()


def _hide_unknown(model: Any, codec: Codec) -> Any:
    """Set the probability of ids that stand for no token to 0, wherever logits are used.

    Embeddings are often padded beyond the vocabulary, which may have gaps too. Such ids decode to
    nothing, and a node that sampled one would be refused.

    Returns:
        the hook; None if there are no such ids.
    """
    if not codec.unknown_ids:
        return None
    layer = model.get_output_embeddings()
    unknown = torch.zeros(len(layer.weight), dtype=torch.bool)
    unknown[codec.unknown_ids] = True
    unknown = unknown.to(model.device)

    def hide(_module: object, _inputs: object, logits: Tensor) -> Tensor:
        return logits.masked_fill(unknown, float("-inf"))

    return layer.register_forward_hook(hide)


def unsupported(model: Any) -> str:
    """The feature of a model that packed attention does not support; empty if there is none.

    Checks only features that the short rows of the self-test cannot reveal.
    """
    config = model.config.get_text_config()
    if not getattr(model, "_supports_attention_backend", False):
        return "attention of its own"
    layers = set(getattr(config, "layer_types", None) or ["full_attention"])
    if layers != {"full_attention"}:
        return f"layers of {', '.join(sorted(layers - {'full_attention'}))}"
    if getattr(config, "layer_types", None) is None and (found := _window(config)):
        return found
    if getattr(config, "attn_logit_softcapping", None):
        return "soft-capped attention"
    rope = getattr(config, "rope_parameters", None) or {}
    tables = (rope, *rope.values())  # one for all layers, or one for each kind of them
    if any("dynamic" in str(table.get("rope_type")) for table in tables if isinstance(table, dict)):
        return "positions that are scaled by the longest row of a batch (dynamic)"
    return ""


def _window(config: Any) -> str:
    """The sliding window of a model; empty if there is none, or its whole context fits into it."""
    window = getattr(config, "sliding_window", None)
    if not window:
        return ""
    if type(window) is not int:
        return f"a sliding window of {window!r:.80} tokens"
    context = shapes.positions(config.to_dict(), "this model")  # scaled positions included
    if context is not None and window >= context:
        return ""
    return f"a sliding window of {window} tokens, less than its context of {context or 'no limit'}"
