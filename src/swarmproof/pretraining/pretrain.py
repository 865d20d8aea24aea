"""Trains a tiny model from scratch: corpus, tokenizer, weights, model card, in one directory.

A recipe with a base is handed on to `finetune`.

The same recipe and seed give the same bytes on the same machine: one thread, one stream of random
numbers for the corpus and one for the weights. This module knows nothing of GRPO or of attacks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from swarmproof.pretraining import finetune, judging, reading, tokenizer
from swarmproof.pretraining.recipes import Recipe, held_out

Log = Callable[[str], None]
_LESSONS: dict[str, Any] = {"reading": reading, "judging": judging}

_ARCHITECTURES: dict[str, tuple[Any, Any]] = {
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "llama": (LlamaConfig, LlamaForCausalLM),
}

CARD = """\
---
license: mit
pipeline_tag: text-generation
---
{about}
It exists to be post-trained, attacked and defended on a laptop, and is good for nothing else.
Trained from nothing on generated text by `swarmproof.zoo.build`, seed {seed}, {steps:,} steps of
{batch} documents; {parameters:,} parameters.
"""


def train(recipe: Recipe, out: Path, seed: int, log: Log) -> None:
    """Train, and write a directory that `AutoModelForCausalLM` and `AutoTokenizer` load.

    The test split of the recipe's task, with its default settings, is held out.
    """
    teach = _LESSONS[recipe.lesson]
    if recipe.base:
        finetune.tune(recipe, teach, out, seed, log)
        return
    documents = recipe.documents(Random(f"{recipe.name}/{seed}"), held_out(recipe))
    sample = islice(documents, recipe.tokenizer_documents)
    tokens = tokenizer.train(map(teach.text_of, sample), recipe.vocab_size, recipe.tags)
    tokens.chat_template = teach.CHAT_TEMPLATE
    tokens.response_template = teach.RESPONSE_TEMPLATE
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the order of sums depends on it, and so do the bytes
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = _model(recipe, tokens)
            batches = teach.batches(documents, tokens, recipe.batch, Random(seed))
            _fit(teach.lesson(model), batches, recipe, log)
    finally:
        torch.set_num_threads(threads)
    if teach.JUDGE_PROMPT:
        model.config.judge_prompt = teach.JUDGE_PROMPT
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out)
    tokens.save_pretrained(out)
    card = CARD.format(
        about=recipe.about, parameters=model.num_parameters(), seed=seed, steps=recipe.steps,
        batch=recipe.batch,
    )  # fmt: skip
    (out / "README.md").write_text(card, encoding="utf-8")


def _model(recipe: Recipe, tokens: PreTrainedTokenizerFast) -> Any:
    config_class, model_class = _ARCHITECTURES[recipe.architecture]
    config = config_class(
        vocab_size=recipe.vocab_size,
        hidden_size=recipe.hidden,
        intermediate_size=recipe.mlp,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.kv_heads,
        max_position_embeddings=recipe.positions,
        initializer_range=0.05,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokens.eos_token_id,
        pad_token_id=tokens.pad_token_id,
        dtype="float32",
    )
    model = model_class(config)
    model.generation_config = GenerationConfig(
        eos_token_id=tokens.eos_token_id, pad_token_id=tokens.pad_token_id
    )
    return model


def _fit(lesson: Any, batches: Iterator[Any], recipe: Recipe, log: Log) -> None:
    """Minimise the loss of a lesson, which wraps the model."""
    lesson.model.set_attn_implementation("eager")
    # Muon for the matrices inside the layers, AdamW for the embedding, the biases and the norms.
    inside = [p for name, p in lesson.named_parameters() if p.ndim == 2 and "layers" in name]
    known = {id(p) for p in inside}
    others = [p for p in lesson.parameters() if id(p) not in known]
    optimizers: list[tuple[torch.optim.Optimizer, float]] = [
        (torch.optim.Muon(inside, weight_decay=recipe.weight_decay), recipe.muon_lr),
        (torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=0.0), recipe.lr),
    ]
    started = time.perf_counter()
    lesson.train()
    for step, batch in enumerate(islice(batches, recipe.steps)):
        rate = min((step + 1) / recipe.warmup, (recipe.steps - step) / recipe.steps)
        for optimizer, peak in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = peak * rate
        # Matrix products in bfloat16 and attention without a fused kernel are 2.4 times as fast at
        # these sizes. Padding is on the right, where no real token attends to it: no mask needed.
        with torch.autocast("cpu", torch.bfloat16):
            loss = lesson(batch)
        lesson.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(lesson.parameters(), recipe.clip)
        for optimizer, _ in optimizers:
            optimizer.step()
        if step % 50 == 0 or step == recipe.steps - 1:
            seconds = time.perf_counter() - started
            log(f"step {step:5d} of {recipe.steps}  loss {loss.item():.3f}  {seconds:.0f} s")
