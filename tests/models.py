"""Builders of random models for tests: real architectures, real tokenizers, no training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

EOS = "<|endoftext|>"
TAGS = ("<think>", "</think>", "<answer>", "</answer>")


# Of a tokenizer that can say yes and no in one token.
YES_AND_NO = (("y", "e"), ("ye", "s"), ("Ġ", "yes"), ("n", "o"), ("Ġ", "no"))
CHAT_TEMPLATE = (
    "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content | trim }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


def byte_tokenizer(merges: Sequence[tuple[str, str]] = ()) -> PreTrainedTokenizerFast:
    """One token a byte, those of the merges, the tags, and end-of-text behind them."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    alphabet += [left + right for left, right in merges]
    vocab = {char: i for i, char in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=EOS, pad_token=EOS)
    fast.add_tokens(list(TAGS))
    return fast


def save_random_qwen2(
    folder: Path,
    *,
    seed: int = 0,
    hidden: int = 64,
    layers: int = 2,
    spread: float = 3.0,
    padding: int = 0,
    positions: int = 512,
    judge: bool = False,
    chat: bool = False,
) -> Path:
    """A Qwen2 model with random weights, scaled up so that its distributions are not flat.

    `padding`: embeddings beyond the vocabulary, as real checkpoints have them. `judge`: its
    vocabulary has yes and no; `chat`: and it has a chat template with control tokens.
    """
    tokenizer = byte_tokenizer(YES_AND_NO if judge else ())
    if chat:
        tokenizer.add_special_tokens({"additional_special_tokens": ["<|start|>", "<|end|>"]})
        tokenizer.chat_template = CHAT_TEMPLATE
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=len(tokenizer) + padding,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=positions,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    model = Qwen2ForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(spread)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_random_llama(
    folder: Path,
    *,
    seed: int = 0,
    hidden: int = 48,
    layers: int = 2,
    heads: tuple[int, int] = (6, 2),
    merges: Sequence[tuple[str, str]] = (),
) -> Path:
    """The same as a Llama: no biases, an output layer of its own.

    `heads`: of queries, and of keys and values; `merges`: of its tokenizer.
    """
    tokenizer = byte_tokenizer(merges)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads[0],
        num_key_value_heads=heads[1],
        max_position_embeddings=512,
        tie_word_embeddings=False,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(3.0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
