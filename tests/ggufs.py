"""Writes small GGUF files of random Llamas, as llama.cpp lays them out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
from transformers import LlamaForCausalLM

from models import EOS, TAGS, byte_tokenizer, save_random_llama

_MERGES = [("a", "b")]
# Names of a layer's weights in transformers and in a GGUF.
_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write_gguf(
    file: Path,
    folder: Path,
    *,
    kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
    architecture: str = "llama",
    tied: bool = True,
    splitting: str = "smollm",
) -> Path:
    """A random Llama as a folder, and the same weights as a GGUF; returns the folder.

    `kind`: how its matrices are stored; `tied`: it has no output layer of its own.
    """
    save_random_llama(folder, hidden=64, heads=(4, 2), merges=_MERGES)
    model = LlamaForCausalLM.from_pretrained(folder)
    config = model.config
    if tied:
        config.tie_word_embeddings = True
        model.tie_weights()
        model.save_pretrained(folder)
    writer = gguf.GGUFWriter(file, architecture)
    writer.add_name("random")
    writer.add_license("mit")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    _add_tokenizer(writer, splitting)
    for name, weight in _tensors(model, tied).items():
        stored = kind if weight.ndim == 2 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(name, gguf.quants.quantize(weight, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return folder


def _add_tokenizer(writer: gguf.GGUFWriter, splitting: str) -> None:
    tokens = byte_tokenizer(_MERGES)
    vocab = sorted(tokens.get_vocab(), key=tokens.get_vocab().__getitem__)
    control = {EOS: gguf.TokenType.CONTROL} | dict.fromkeys(TAGS, gguf.TokenType.USER_DEFINED)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(splitting)
    writer.add_token_list(vocab)
    writer.add_token_types([control.get(token, gguf.TokenType.NORMAL) for token in vocab])
    writer.add_token_merges(["a b"])
    for add in (writer.add_bos_token_id, writer.add_eos_token_id, writer.add_pad_token_id):
        add(tokens.eos_token_id)
    writer.add_add_bos_token(False)


def _tensors(model: Any, tied: bool) -> dict[str, np.ndarray[Any, Any]]:
    config, state = model.config, {k: v.numpy() for k, v in model.state_dict().items()}
    found = {
        "token_embd.weight": state["model.embed_tokens.weight"],
        "output_norm.weight": state["model.norm.weight"],
    }
    if not tied:
        found["output.weight"] = state["lm_head.weight"]
    for layer in range(config.num_hidden_layers):
        for theirs, ours in _LAYER.items():
            weight = state[f"model.layers.{layer}.{theirs}.weight"]
            if ours in ("attn_q", "attn_k"):
                heads = (config.num_attention_heads, config.num_key_value_heads)[ours == "attn_k"]
                weight = _interleaved(weight, heads)
            found[f"blk.{layer}.{ours}.weight"] = weight
    return found


def _interleaved(weight: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """llama.cpp turns neighbours of a head together, transformers the two halves of it."""
    rows, columns = weight.shape
    halves = weight.reshape(heads, 2, rows // heads // 2, columns)
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(rows, columns))
