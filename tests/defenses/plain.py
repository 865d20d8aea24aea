"""Scores computed token by token by transformers' own forward pass, and completions to score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, TopKLogitsWarper, TopPLogitsWarper

from swarmproof.config import SamplingConfig
from swarmproof.defenses import Defense, DefenseView
from swarmproof.guard.gate import checked
from swarmproof.policies.policy import Policy
from swarmproof.tasks import Task
from swarmproof.types import Completion, Group, NodeId, Slot, TokenScores, Verdict

STRATEGIES: dict[str, dict[str, Any]] = {
    "top-k": {"top_k": 50},
    "cold": {"top_k": 50, "temperature": 0.6},
    "hot": {"top_k": 20, "temperature": 1.7},
    "top-p": {"top_k": 0, "top_p": 0.9},
    "all": {"top_k": 50, "top_p": 0.8, "temperature": 1.3},
    "no limit": {"top_k": 0},
}


@cache
def plain_model(path: str) -> Any:
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()


def plain_logits(receiver: Policy, prompt: str, ids: Sequence[int]) -> Tensor:
    """Logits before each token of a completion, float32 (T, V)."""
    before = receiver.codec.encode_prompt(prompt)
    with torch.inference_mode():
        model = plain_model(receiver.model.config.name_or_path)
        logits: Tensor = model(torch.tensor([[*before, *ids]])).logits[0]
    return logits[len(before) - 1 : -1].float()


def supports(logits: Tensor, sampling: SamplingConfig) -> tuple[Tensor, Tensor]:
    """Logits / temperature, and which of them transformers' processors leave, both (T, V)."""
    scaled = logits / sampling.temperature
    left = scaled
    none = torch.empty(0, dtype=torch.long)
    if sampling.top_k:
        left = TopKLogitsWarper(sampling.top_k)(none, left)
    if sampling.top_p < 1:
        left = TopPLogitsWarper(sampling.top_p)(none, left)
    return scaled, left > float("-inf")


def plain_scores(receiver: Policy, prompt: str, ids: Sequence[int]) -> tuple[np.ndarray, ...]:
    """log p of each token and the entropy before it, over the full vocabulary; (T,) each."""
    logits = plain_logits(receiver, prompt, ids).double()
    p = (logits / receiver.sampling.temperature).softmax(-1)
    entropy = -(p * p.log()).sum(-1)
    chosen = p[torch.arange(len(ids)), torch.tensor(ids)].log()
    return chosen.numpy(), entropy.numpy()


class GivenScores:
    """Scores as a caller may have them."""

    def __init__(
        self, logprob: Sequence[Sequence[np.ndarray]], entropy: Sequence[Sequence[np.ndarray]]
    ) -> None:
        self._entropy = entropy
        self.scores = [[TokenScores(row, np.zeros_like(row)) for row in rows] for rows in logprob]

    def column(self, name: str) -> Sequence[Sequence[np.ndarray]]:
        assert name == "entropy"
        return self._entropy


def written(receiver: Policy, task: Task, p: int, texts: Sequence[str], nodes: int = 4) -> Group:
    """A group of given texts for the task's problem number p."""
    of = task.problems("train")[p]
    made = (
        Completion(Slot(0, of.id, i), i % nodes, text, receiver.codec.encode(text))
        for i, text in enumerate(texts)
    )
    return Group(of, tuple(made), task.prompt(of))


def look(
    defense: Defense,
    receiver: Policy,
    groups: Sequence[Group],
    rewards: Sequence[Sequence[float]],
    foreign: frozenset[NodeId] = frozenset(),
) -> list[list[Verdict]]:
    """The verdicts of a defence that sees all of these groups, through the gate."""
    prompts, rows = [group.prompt for group in groups], [group.token_ids for group in groups]
    view = DefenseView(
        rewards=rewards,
        seed=0,
        sampling=receiver.sampling,
        source=receiver.scorer.score(prompts, rows, columns=["entropy"]),
        codec=receiver.codec,
        model=receiver,
        foreign=foreign,
    )
    return checked(defense, groups, defense.inspect(groups, view))


def shuffled(
    groups: Sequence[Group], rewards: Sequence[Sequence[float]], seed: int
) -> tuple[list[Group], list[list[float]], list[tuple[int, list[int]]]]:
    """The same groups and completions in another order, and where each of them was."""
    draw = Random(seed)
    places = [(p, draw.sample(range(len(rewards[p])), len(rewards[p]))) for p in range(len(groups))]
    draw.shuffle(places)
    moved = [
        replace(groups[p], completions=tuple(groups[p].completions[g] for g in order))
        for p, order in places
    ]
    return moved, [[rewards[p][g] for g in order] for p, order in places], places
