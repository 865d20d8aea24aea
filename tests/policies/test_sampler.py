"""Sampling: the support and the probabilities of transformers' processors; a completion that
depends on nothing but its slot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from swarmproof.config import SamplingConfig
from swarmproof.policies import sampler
from swarmproof.policies.attention import NAME as PACKED
from swarmproof.policies.attention import DecodeLayout
from swarmproof.randomness import derive_seed, gumbel

SETTINGS = st.builds(
    SamplingConfig,
    temperature=st.sampled_from([0.3, 0.7, 1.0, 2.0]),
    top_k=st.sampled_from([0, 1, 2, 5, 50]),
    top_p=st.sampled_from([0.1, 0.5, 0.9, 0.999, 1.0]),
)
# Values from a coarse grid, so that ties, also at the boundary, are the rule.
TIED = st.lists(st.integers(-8, 8).map(lambda x: x / 2), min_size=2, max_size=12)
SMOOTH = st.lists(st.floats(-20, 20, width=32), min_size=2, max_size=12)


def processed(logits: Tensor, sampling: SamplingConfig) -> Tensor:
    """What transformers' `generate` would draw from: its processors, in its order."""
    ids = torch.zeros(logits.shape[0], 1, dtype=torch.long)
    scores = TemperatureLogitsWarper(sampling.temperature)(ids, logits)
    if sampling.top_k:
        scores = TopKLogitsWarper(sampling.top_k)(ids, scores)
    if sampling.top_p < 1:
        scores = TopPLogitsWarper(sampling.top_p)(ids, scores)
    return torch.as_tensor(scores)


@settings(max_examples=300)
@given(row=st.one_of(TIED, SMOOTH), sampling=SETTINGS)
# A mass that reaches top-p exactly.
@example(row=[1.0, 1.0], sampling=SamplingConfig(top_p=0.5))
@example(row=[0.0, 2.0, 2.0, 2.0, 2.0], sampling=SamplingConfig(top_k=4, top_p=0.75))
def test_support_is_that_of_transformers(row: list[float], sampling: SamplingConfig) -> None:
    logits = torch.tensor([row, row[::-1]])
    kept = sampler.support(logits / sampling.temperature, sampling)
    assert torch.equal(kept, processed(logits, sampling) > float("-inf"))
    assert kept.any(-1).all()


def test_ties_at_the_boundary_are_all_inside() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.0, 1.0, 1.0, 0.0]])
    kept = sampler.support(logits, SamplingConfig(top_k=3))
    assert kept.tolist() == [[True, True, True, True, True, False]]
    # Noise that favours each in turn draws each: none of the tied ones is cut off by chance.
    seeds = torch.arange(4000)
    drawn = sampler.draw(logits.expand(4000, -1), seeds, 0, SamplingConfig(top_k=3))
    assert set(drawn.tolist()) == {0, 1, 2, 3, 4}


@settings(max_examples=200)
@given(row=st.one_of(TIED, SMOOTH), sampling=SETTINGS, t=st.integers(0, 300))
def test_draw_is_the_argmax_of_noise_over_the_support(
    row: list[float], sampling: SamplingConfig, t: int
) -> None:
    """The definition that a peer verifies against, whatever shortcut the sampler takes."""
    logits = torch.tensor([row]).expand(3, -1)
    seeds = torch.tensor([derive_seed(0, "test", i) for i in range(3)])
    scaled = logits / sampling.temperature
    noisy = scaled + gumbel(seeds, t, torch.arange(len(row)).expand(3, -1))
    outside = ~sampler.support(scaled, sampling)
    expected = noisy.masked_fill(outside, float("-inf")).argmax(-1)
    assert torch.equal(sampler.draw(logits, seeds, t, sampling), expected)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_wide_vocabulary_is_searched_in_stacks_and_nothing_is_missed(
    ties: bool, dtype: torch.dtype
) -> None:
    logits = 3 * torch.randn(200, 1024, generator=torch.Generator().manual_seed(5))
    if ties:
        logits = logits.round()  # dozens at the boundary
    logits = logits.to(dtype)
    seeds = torch.tensor([derive_seed(0, "test", i) for i in range(200)])
    sampling = SamplingConfig(top_k=20)
    noisy = logits.float() + gumbel(seeds, 3, torch.arange(1024).expand(200, -1))
    outside = ~sampler.support(logits, sampling)
    expected = noisy.masked_fill(outside, float("-inf")).argmax(-1)
    assert torch.equal(sampler.draw(logits, seeds, 3, sampling), expected)


def chi_square(drawn: Tensor, expected: np.ndarray) -> float:
    """The p-value of the counts, with rare tokens counted together."""
    counts = np.bincount(drawn.numpy(), minlength=len(expected)).astype(float)
    assert counts[expected == 0].sum() == 0, "a token outside the support was drawn"
    often = expected * len(drawn) >= 20
    rest = (expected > 0) & ~often
    observed = [*counts[often], *([counts[rest].sum()] if rest.any() else [])]
    wanted = [*expected[often], *([expected[rest].sum()] if rest.any() else [])]
    return float(stats.chisquare(observed, np.asarray(wanted) / sum(wanted) * len(drawn)).pvalue)


@pytest.mark.parametrize(
    "sampling",
    [
        SamplingConfig(top_k=50),
        SamplingConfig(top_k=0),
        SamplingConfig(temperature=0.6, top_k=10, top_p=0.9),
        SamplingConfig(temperature=1.3, top_k=1000, top_p=0.8),
    ],
    ids=["paper", "whole vocabulary", "judge", "top-p"],
)
def test_draws_have_the_probabilities_of_transformers(sampling: SamplingConfig) -> None:
    """200,000 draws at the addresses that a run would use."""
    logits = 2 * torch.randn(1, 120, generator=torch.Generator().manual_seed(3))
    slots = torch.tensor([derive_seed(7, "completion", 0, "p", i) for i in range(2000)])
    drawn = torch.cat(
        [sampler.draw(logits.expand(2000, -1), slots, t, sampling) for t in range(100)]
    )
    exact = processed(logits, sampling).double().softmax(-1)[0].numpy()
    assert chi_square(drawn, exact) > 1e-4
    # The control: a temperature five per cent off is seen.
    off = sampling.model_copy(update={"temperature": 1.05 * sampling.temperature})
    wrong = torch.cat([sampler.draw(logits.expand(2000, -1), slots, t, off) for t in range(100)])
    inside = wrong[torch.as_tensor(exact)[wrong] > 0]
    assert chi_square(inside, exact) < 1e-4


PROMPTS = [[65, 66, 67], [70], [80, 81, 82, 83, 84, 85, 86, 87], [90, 91]]
SEEDS = [[derive_seed(0, "completion", p, g) for g in range(5)] for p in range(len(PROMPTS))]
Grown = list[list[tuple[int, ...]]]


@pytest.fixture(scope="module")
def model(qwen2_dir: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(qwen2_dir, attn_implementation=PACKED).eval()


def frequent_token(model: Any, sampling: SamplingConfig) -> int:
    """A token that the model writes often: as end-of-text it makes rows end at every length."""
    rows = sampler.generate(model, PROMPTS, SEEDS, sampling, end_ids=())
    tokens = [token for group in rows for row in group for token in row]
    counts = sorted(((tokens.count(token), token) for token in set(tokens)), reverse=True)
    return counts[0][1]


@pytest.mark.parametrize(
    "sampling",
    [
        SamplingConfig(top_k=12, max_new_tokens=40),
        SamplingConfig(temperature=0.7, top_k=0, top_p=0.6, max_new_tokens=150),
    ],
    ids=["top-k", "top-p"],
)
def test_a_completion_does_not_depend_on_its_batch(
    model: Any, sampling: SamplingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    eos = frequent_token(model, sampling)
    compactions: list[tuple[int, int]] = []
    keep = DecodeLayout.keep

    def watched(self: DecodeLayout, groups: Tensor, rows: Tensor, group_size: int) -> None:
        compactions.append((len(groups), group_size))
        keep(self, groups, rows, group_size)

    monkeypatch.setattr(DecodeLayout, "keep", watched)
    together = sampler.generate(model, PROMPTS, SEEDS, sampling, {eos})
    # The case that could go wrong did happen: groups and rows left while others grew on.
    lengths = [[len(row) for row in group] for group in together]
    assert len(compactions) >= 3
    assert len({g for g, _ in compactions}) > 1, "no group left before the others"
    assert any(4 * min(group) < max(group) for group in lengths)

    for p, prompt in enumerate(PROMPTS):
        for g, seed in enumerate(SEEDS[p]):
            alone = sampler.generate(model, [prompt], [[seed]], sampling, {eos})
            assert alone[0][0] == together[p][g]
    shuffled = sampler.generate(
        model, PROMPTS[::-1], [row[::-1] for row in SEEDS[::-1]], sampling, {eos}
    )
    assert [group[::-1] for group in shuffled[::-1]] == together


def test_every_completion_ends_with_end_of_text_or_at_the_limit(model: Any) -> None:
    sampling = SamplingConfig(top_k=12, max_new_tokens=25)
    eos = frequent_token(model, sampling)
    rows = [
        row for group in sampler.generate(model, PROMPTS, SEEDS, sampling, {eos}) for row in group
    ]
    for row in rows:
        assert eos not in row[:-1]
        assert row[-1] == eos or len(row) == sampling.max_new_tokens
    assert {row[-1] == eos for row in rows} == {True, False}


@pytest.mark.parametrize("limit", [1, 2, 33, 65])
def test_the_limit_is_exact(model: Any, limit: int) -> None:
    """Also where the cache has to grow."""
    rows = sampler.generate(model, PROMPTS, SEEDS, SamplingConfig(max_new_tokens=limit), end_ids=())
    assert {len(row) for group in rows for row in group} == {limit}


def greedy(folder: Path, prompts: Sequence[list[int]], eos: int, limit: int) -> Grown:
    plain = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    grown = []
    for prompt in prompts:
        output = plain.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            do_sample=False,
            max_new_tokens=limit,
            eos_token_id=eos,
            pad_token_id=eos,
        )
        grown.append([tuple(output[0, len(prompt) :].tolist())])
    return grown


def test_next_to_no_temperature_is_greedy_generation(model_dir: Path) -> None:
    """Token for token what transformers' own `generate` writes, cache and positions included."""
    cold = SamplingConfig(temperature=1e-4, top_k=0, max_new_tokens=40)
    model = AutoModelForCausalLM.from_pretrained(model_dir, attn_implementation=PACKED).eval()
    seeds = [row[:1] for row in SEEDS]
    free = sampler.generate(model, PROMPTS, seeds, cold, end_ids=())
    assert free == greedy(model_dir, PROMPTS, -1, 40)
    eos = free[0][0][12]
    assert sampler.generate(model, PROMPTS, seeds, cold, {eos}) == greedy(
        model_dir, PROMPTS, eos, 40
    )
