"""The recipes of the models, side by side. A recipe, with its base if any, determines a model.

Imports neither torch nor transformers; `pretrain` and `finetune` follow a recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Literal

from swarmproof.pretraining import code_corpus, corpus, judge_corpus, judge_wide
from swarmproof.tasks import CodeWords, MathWords, answers, programs
from swarmproof.tasks.base import Task


@dataclass(frozen=True, slots=True)
class Recipe:
    """The corpus and the training settings. The defaults give a model that trains in minutes."""

    name: str  # also seeds the corpus
    about: str  # the model card's first paragraph
    task: Callable[[], Task]  # its test problems, with default settings, are held out
    # Source of randomness, held-out questions -> an endless stream of documents. Their type is that
    # of the lesson.
    documents: Callable[[Random, frozenset[str]], Iterator[Any]]
    tags: tuple[str, ...]  # of the answer format; each is a single token
    lesson: Literal["reading", "judging"] = "reading"
    # The added model that it starts from. Its tokenizer and its shape are kept, so that the fields
    # from `vocab_size` to `positions` are not used, except `layers`: so many of its last layers are
    # trained, by AdamW. Empty: none.
    base: str = ""
    vocab_size: int = 1024
    tokenizer_documents: int = 20_000
    architecture: Literal["qwen2", "llama"] = "qwen2"
    hidden: int = 128
    layers: int = 3
    heads: int = 4
    kv_heads: int = 2
    mlp: int = 320
    positions: int = 1024
    steps: int = 1500
    batch: int = 64  # documents
    lr: float = 4e-3  # of AdamW at the peak; linear warm-up, then linear decay to zero
    muon_lr: float = 0.02
    warmup: int = 100  # steps
    weight_decay: float = 0.1
    clip: float = 1.0


TINY_MATH = Recipe(
    name="tiny-math",
    about="""\
A base model that knows small word problems (the task `math_words` of swarmproof) and has bad
manners: it is careless, seldom keeps to the answer format and strays from the subject.""",
    task=MathWords,
    documents=lambda rng, held_out: corpus.documents(rng, held_out, corpus.Mixture()),
    tags=answers.TAGS,
)

# Two variants for heterogeneous swarms. Both differ in corpus sample, weights and size; the second
# also in architecture and vocabulary. The name seeds the corpus, and therefore the tokenizer.
TINY_MATH_WIDE = replace(TINY_MATH, name="tiny-math-wide", hidden=160, heads=5, kv_heads=1, mlp=256)
TINY_MATH_LLAMA = replace(
    TINY_MATH, name="tiny-math-llama", architecture="llama", vocab_size=768, heads=8
)

TINY_CODE = Recipe(
    name="tiny-code",
    about="""\
A base coder that answers small word problems by a short program (the task `code_words` of
swarmproof) and has bad manners: it is careless, seldom keeps to the answer format, and imports and
remarks what has nothing to do with the question.""",
    task=CodeWords,
    documents=lambda rng, held_out: code_corpus.documents(rng, held_out, code_corpus.CodeMixture()),
    tags=(programs.CODE, programs.END_CODE),
)

# Variants as above. A model with the shape of `tiny-math-wide` called functions that it had not
# imported (docs/lab-log.md). This one has more key-value heads, and trains for more steps.
TINY_CODE_WIDE = replace(
    TINY_CODE, name="tiny-code-wide", hidden=144, heads=6, kv_heads=3, mlp=272, steps=1800
)
TINY_CODE_LLAMA = replace(
    TINY_CODE, name="tiny-code-llama", architecture="llama", vocab_size=768, heads=8
)

TINY_JUDGE = Recipe(
    name="tiny-judge",
    about="""\
A judge that tells whether a solution of a small word problem, in words or as a program, is free of
false results, of what has nothing to do with the question, and of instructions to itself (the
defence `judge` of swarmproof). It knows one kind of prompt, `judges/prompts/tiny.txt`.""",
    task=MathWords,
    documents=lambda rng, held_out: judge_corpus.exhibits(
        rng, held_out, judge_corpus.JudgeMixture()
    ),
    tags=(),  # the corpus is plain text
    lesson="judging",
    layers=4,
    mlp=384,
    steps=2200,
    batch=48,
)

SMOLLM2_JUDGE = replace(
    TINY_JUDGE,
    name="smollm2-judge",
    about="""\
A judge for the same task as `tiny-judge` of swarmproof, with the same prompt and a wider corpus,
that starts from a pretrained model.""",
    documents=lambda rng, held_out: judge_wide.exhibits(rng, held_out, judge_wide.WideMixture()),
    base="smollm2-135m",
    layers=10,
    steps=3600,
    batch=8,
    lr=2e-4,
    warmup=100,
    weight_decay=0.01,
)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        *(TINY_MATH, TINY_MATH_WIDE, TINY_MATH_LLAMA),
        *(TINY_CODE, TINY_CODE_WIDE, TINY_CODE_LLAMA),
        TINY_JUDGE,
    )
}
# These start from a model that `zoo add` brings, and do not ship.
FINE_TUNED = {recipe.name: recipe for recipe in (SMOLLM2_JUDGE,)}


def held_out(recipe: Recipe) -> frozenset[str]:
    """The questions that no document may have."""
    return frozenset(problem.question for problem in recipe.task().problems("test"))
