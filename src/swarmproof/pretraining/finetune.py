"""Fine-tunes a model that was added to the zoo, by a recipe with a `base`.

The model keeps its tokenizer and its shape. It gets the plain conversations of the lesson as its
chat template, and `judge_prompt` in its config. The same recipe, seed and base give the same bytes
on the same machine, also if the training was stopped and went on. It knows nothing of GRPO.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from swarmproof.pretraining.recipes import Recipe, held_out
from swarmproof.swarm import identity
from swarmproof.zoo import added, saving

Log = Callable[[str], None]

_ROWS = 4  # documents in a pass, which bounds the memory
_KEPT_EVERY = 50  # steps
_SHOWN_EVERY = 20
_HASHED = 200  # documents; an unfinished training does not go on with another corpus
_HEAD_RATE = 10  # the head is new: its learning rate is so many times that of the model
_TOKENIZER_BYTES = 8_000_000  # at most

CARD = """\
---
license: {licence}
pipeline_tag: text-generation
---
{about}
Fine-tuned by `swarmproof.zoo.build` on generated text, seed {seed}, {steps:,} steps of {batch}
documents; {parameters:,} parameters. It starts from {base}: {origin}.
"""


def tune(recipe: Recipe, teach: Any, out: Path, seed: int, log: Log) -> None:
    """Train, and write a directory that `AutoModelForCausalLM` and `AutoTokenizer` load.

    Args:
        teach: the module of the recipe's lesson.

    Raises:
        ValueError: the base was not added, the folder is not empty, or the disk is too small.
    """
    base = _base(recipe)
    free = not out.exists() or (out.is_dir() and not any(out.iterdir()))
    if not free or out.is_symlink():
        raise ValueError(f"{out} is there already; delete it, or choose another folder with --out")
    transformers_logging.disable_progress_bar()
    tokens = AutoTokenizer.from_pretrained(base, trust_remote_code=False)
    documents = _documents(recipe, seed)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the order of sums depends on it, and so do the bytes
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = AutoModelForCausalLM.from_pretrained(
                base,
                dtype=torch.float32,
                attn_implementation="eager",
                trust_remote_code=False,
            )
            # The embeddings and the first layers stay as they are. So the words that the corpus
            # lacks keep their place beside the others, and it takes a third of the memory.
            model.requires_grad_(False)
            model.model.layers[-recipe.layers :].requires_grad_(True)
            model.model.norm.requires_grad_(True)
            work = out.absolute().with_name(f".{out.absolute().name}.building")
            lesson = teach.lesson(model)
            _require_room(lesson, out, work, log)
            work.mkdir(exist_ok=True)
            batches = teach.batches(documents, tokens, _ROWS, Random(seed))
            kept = _Kept(work / "training.pt", _key(recipe, base, seed))
            _fit(lesson, batches, recipe, kept, log)
    finally:
        torch.set_num_threads(threads)
    tokens.chat_template = teach.CHAT_TEMPLATE
    tokens.response_template = teach.RESPONSE_TEMPLATE
    model.config.judge_prompt = teach.JUDGE_PROMPT
    _write(recipe, base, seed, model.to(torch.bfloat16), tokens, work / "model")
    (work / "model").replace(out)
    shutil.rmtree(work)
    log(f'built {out}; use it with model = {{ name = "local", path = "{out}" }}')


def _base(recipe: Recipe) -> Path:
    folder = added.path(recipe.base)
    if folder is None:
        raise ValueError(
            f"{recipe.name} starts from {recipe.base}, which is not on this machine; "
            f"`swarmproof zoo add {recipe.base}` adds it"
        )
    return folder


def _documents(recipe: Recipe, seed: int) -> Iterator[Any]:
    return recipe.documents(Random(f"{recipe.name}/{seed}"), held_out(recipe))


def _key(recipe: Recipe, base: Path, seed: int) -> str:
    """A hash of what determines the training; of the corpus, its first documents."""
    first = list(islice(_documents(recipe, seed), _HASHED))
    settings = (recipe.name, recipe.layers, recipe.steps, recipe.batch, recipe.lr, recipe.warmup,
                recipe.weight_decay, recipe.clip, seed)  # fmt: skip
    text = f"{settings} {identity.model_fingerprint(str(base))} {first}"
    return hashlib.sha256(text.encode()).hexdigest()


def _require_room(lesson: Any, out: Path, work: Path, log: Log) -> None:
    """Say how much will be written, and check that it fits."""
    final = 2 * lesson.model.num_parameters() + _TOKENIZER_BYTES
    # The weights and two moments, in 32 bits, twice while a file is replaced.
    beside = 2 * 12 * sum(p.numel() for p in lesson.parameters() if p.requires_grad)
    log(
        f"writes {_mb(final)} to {out}, in bfloat16; "
        f"while it trains, at most {_mb(beside)} to {work}"
    )
    work.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(work.parent).free
    if free < final + beside:
        raise ValueError(
            f"it needs {_mb(final + beside)} and {work.parent} has {_mb(free)} free; free some "
            "space, or choose another disk with --out"
        )


@dataclass(frozen=True, slots=True)
class _Kept:
    """The state of an unfinished training, in one file."""

    file: Path
    key: str

    def save(self, step: int, weights: dict[str, Tensor], optimizer: Optimizer) -> None:
        state = {"key": self.key, "step": step, "weights": weights,
                 "optimizer": optimizer.state_dict()}  # fmt: skip
        part = self.file.with_suffix(".part")
        torch.save(state, part)
        part.replace(self.file)

    def load(self, weights: dict[str, Tensor], optimizer: Optimizer, log: Log) -> int:
        """The number of steps that are done; 0 if there is no file, or one of another training."""
        if not self.file.is_file():
            return 0
        try:
            state = torch.load(self.file, weights_only=True)
        except (RuntimeError, EOFError, OSError, pickle.UnpicklingError):
            raise ValueError(f"{self.file} cannot be read; delete it to start anew") from None
        if state["key"] != self.key:
            log(f"starts anew: {self.file} is of another training, and will be replaced")
            return 0
        for name, weight in weights.items():
            weight.copy_(state["weights"][name])
        optimizer.load_state_dict(state["optimizer"])
        step: int = state["step"]
        return step


def _fit(lesson: Any, batches: Iterator[Any], recipe: Recipe, kept: _Kept, log: Log) -> None:
    """Minimise the loss. The passes compute in bfloat16, the optimiser has weights in float32."""
    trained = {name: p for name, p in lesson.named_parameters() if p.requires_grad}
    weights = {name: p.detach().clone() for name, p in trained.items()}
    for parameter in lesson.parameters():  # not the buffers: positions need more digits
        parameter.data = parameter.data.to(torch.bfloat16)
    optimizer = _optimizer(weights, recipe)
    done = kept.load(weights, optimizer, log)
    if done:
        log(f"goes on after step {done} of an earlier training")
    _hand_over(weights, trained)
    lesson.train()
    losses: list[float] = []
    started = time.perf_counter()
    passes = max(1, recipe.batch // _ROWS)
    batches = islice(batches, done * passes, None)
    for step in range(done + 1, recipe.steps + 1):
        rate = min(step / recipe.warmup, (recipe.steps + 1 - step) / recipe.steps)
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr * rate * group["times"]
        for batch in islice(batches, passes):
            loss = lesson(batch) / passes
            torch.autograd.backward(loss)
            losses.append(loss.item() * passes)
        for name, parameter in trained.items():
            weights[name].grad = parameter.grad.float()
            parameter.grad = None
        torch.nn.utils.clip_grad_norm_(weights.values(), recipe.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        _hand_over(weights, trained)
        if step % _SHOWN_EVERY == 0 or step in (1, recipe.steps):
            mean, losses = sum(losses) / len(losses), []
            seconds = time.perf_counter() - started
            log(f"step {step:5d} of {recipe.steps}  loss {mean:.3f}  {seconds:.0f} s")
        if step % _KEPT_EVERY == 0:
            kept.save(step, weights, optimizer)


def _optimizer(weights: dict[str, Tensor], recipe: Recipe) -> Optimizer:
    inside = [weight for name, weight in weights.items() if name.startswith("model.")]
    head = [weight for name, weight in weights.items() if not name.startswith("model.")]
    groups = [{"params": inside, "times": 1}, {"params": head, "times": _HEAD_RATE}]
    return torch.optim.AdamW(
        groups, betas=(0.9, 0.98), weight_decay=recipe.weight_decay, fused=True
    )


@torch.no_grad()
def _hand_over(weights: dict[str, Tensor], trained: dict[str, Any]) -> None:
    for name, parameter in trained.items():
        parameter.copy_(weights[name])


def _write(recipe: Recipe, base: Path, seed: int, model: Any, tokens: Any, out: Path) -> None:
    saving.save(model, out)
    tokens.save_pretrained(out)
    found = added.card(base) or {}
    origin = f"{found['source']}; {found['weights']}"
    how = f"fine-tuned from {recipe.base} by `zoo build {recipe.name}`, seed {seed}"
    card = {
        "name": recipe.name,
        "source": f"{how}, {recipe.steps} steps of {recipe.batch} documents",
        "weights": f"in bfloat16; it started from {origin}",
        "licence": found["licence"],
    }
    (out / added.CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    readme = CARD.format(
        about=recipe.about, licence=found["licence"].lower(), seed=seed, steps=recipe.steps,
        batch=recipe.batch, parameters=model.num_parameters(), base=recipe.base, origin=origin,
    )  # fmt: skip
    (out / "README.md").write_text(readme, encoding="utf-8")


def _mb(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.0f} MB"
