"""What a pass tells of each token, against the definitions."""

from __future__ import annotations

from math import log
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from models import save_random_qwen2
from policies.lessons import PROMPTS, drawn, trained
from swarmproof.config import SamplingConfig
from swarmproof.policies import loss, sampler
from swarmproof.policies.columns import COLUMNS
from swarmproof.policies.loss import PackedBatch
from swarmproof.policies.policy import load
from swarmproof.policies.scorer import Scorer
from swarmproof.types import Tokens


def test_scores_are_the_logprobs_and_the_distance_from_the_support(model_dir: Path) -> None:
    """Against the definition, by sorting whole rows."""
    for top_k, top_p in ((20, 1.0), (0, 1.0), (0, 0.8), (20, 0.8)):
        receiver = trained(model_dir, top_k=top_k, top_p=top_p)
        rows = [*drawn(receiver)[0], (3, 250, 17), (0,)]
        ((_, forward),) = receiver.scorer.passes(PROMPTS[:1], [rows], [True])
        (found,) = forward.scores
        prompt = receiver.codec.encode_prompt(PROMPTS[0])
        for row, score in zip(rows, found, strict=True):
            batch = PackedBatch((prompt,), ((row,),))
            with torch.no_grad():
                logits = loss.token_logits(receiver.model, batch)
            for t, token in enumerate(row):
                order = logits[t].argsort(descending=True)
                order = order[: top_k or len(order)]
                mass = logits[t][order].softmax(-1).cumsum(-1)
                inside = order[: int((mass < top_p).sum()) + 1] if top_p < 1 else order
                expected = max(0.0, float(logits[t][inside].min() - logits[t][token]))
                assert float(score.shortfall[t]) == pytest.approx(expected, abs=1e-4)
                logp = float(logits[t].log_softmax(-1)[token])
                assert float(score.logprob[t]) == pytest.approx(logp, abs=1e-4)
        # What a policy draws is inside its own support.
        assert all(float(score.shortfall.max()) < 1e-4 for score in found[:4])


def test_columns_in_slices_have_the_bits_of_the_whole(
    qwen2_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver = trained(qwen2_dir, top_k=20)
    rows, seeds = [*drawn(receiver)[0], (3, 250, 17), (0,)], list(range(6))
    found = []
    for size in (1 << 20, 3 * receiver.model.config.vocab_size, 1):
        monkeypatch.setattr(loss, "_SLICE", size)
        ((_, forward),) = receiver.scorer.passes(PROMPTS[:1], [rows], [False], [seeds])
        found.append([forward.column(name) for name in COLUMNS])
        ((_, again),) = receiver.scorer.passes(PROMPTS[:1], [rows], [False], [seeds])
        found.append([again.column(name) for name in reversed([*COLUMNS])][::-1])
        # Of a wide vocabulary, the shortfall is computed only where a token is not the draw.
        monkeypatch.setattr(sampler, "WIDE", 1)
        ((_, wide),) = receiver.scorer.passes(PROMPTS[:1], [rows], [False], [seeds])
        found.append([wide.column(name) for name in COLUMNS])
        monkeypatch.undo()
    margins = np.concatenate(found[0][[*COLUMNS].index("margin")][0])
    assert (margins == 0).any()
    assert (margins > 0).any()
    for columns in found[1:]:
        for column, expected in zip(columns, found[0], strict=True):
            for row, whole in zip(column[0], expected[0], strict=True):
                np.testing.assert_array_equal(row, whole)


@pytest.mark.parametrize("top_k", [1, 5, 20])
def test_the_last_rank_of_the_support_is_inside_and_the_next_is_not(
    qwen2_dir: Path, top_k: int
) -> None:
    receiver = trained(qwen2_dir, top_k=top_k)
    batch = PackedBatch((receiver.codec.encode_prompt(PROMPTS[0]),), (((0,),),))
    with torch.no_grad():
        logits = loss.token_logits(receiver.model, batch)
    by_rank = logits[0].argsort(descending=True).tolist()
    rows = [(by_rank[top_k - 1],), (by_rank[top_k],)]
    ((_, forward),) = receiver.scorer.passes(PROMPTS[:1], [rows], [False])
    last, next_one = (score.shortfall.item() for score in forward.scores[0])
    assert last == 0
    assert next_one > 0


def test_one_rule_for_top_p_in_sampling_and_in_verifying(qwen2_dir: Path) -> None:
    receiver = trained(qwen2_dir, top_k=0, top_p=0.7)
    rows_PG = drawn(receiver, round=3)
    for _, forward in receiver.scorer.passes(PROMPTS, rows_PG, [True, True]):
        assert all(float(s.shortfall.max()) < 1e-4 for group in forward.scores for s in group)


@pytest.mark.parametrize("temperature", [1.0, 0.2])
def test_entropy_is_that_of_all_that_could_come_next(model_dir: Path, temperature: float) -> None:
    """Against the sum over the whole vocabulary, by a plain pass over each completion alone."""
    sampling = SamplingConfig(temperature=temperature, top_k=5, max_new_tokens=10)
    receiver = load(str(model_dir), sampling)
    rows_PG = [[*group, (3, 250, 17), (0,)] for group in drawn(receiver)]
    plain = AutoModelForCausalLM.from_pretrained(model_dir, attn_implementation="eager").eval()
    ((order, forward),) = receiver.scorer.passes(PROMPTS, rows_PG, [False, False])
    column = iter([one for of_group in forward.column("entropy") for one in of_group])
    seen = []
    for p in order:
        prompt = receiver.codec.encode_prompt(PROMPTS[p])
        for row in rows_PG[p]:
            found = next(column)
            assert found.dtype == np.float32
            assert found.shape == (len(row),)
            with torch.no_grad():
                logits = plain(input_ids=torch.tensor([prompt + row])).logits[0].double()
            for t in range(len(row)):
                chances = (logits[len(prompt) - 1 + t] / temperature).softmax(-1).tolist()
                expected = -sum(x * log(x) for x in chances if x > 0)
                assert float(found[t]) == pytest.approx(expected, abs=5e-5)
                seen.append(expected)
    assert next(column, None) is None
    # Places differ, so that a value at a wrong place is seen.
    assert max(seen) - min(seen) > 0.02


def test_entropy_counts_no_embeddings_beyond_the_vocabulary(tmp_path: Path) -> None:
    folder = save_random_qwen2(tmp_path, padding=50)
    receiver = load(str(folder), SamplingConfig(max_new_tokens=10))
    rows_PG = drawn(receiver)
    plain = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    for order, forward in receiver.scorer.passes(PROMPTS, rows_PG, [False, False]):
        column = iter([one for of_group in forward.column("entropy") for one in of_group])
        for p in order:
            prompt = receiver.codec.encode_prompt(PROMPTS[p])
            for row in rows_PG[p]:
                with torch.no_grad():
                    logits = plain(input_ids=torch.tensor([prompt + row])).logits[0, -1 - len(row)]
                chances = logits[: receiver.codec.vocab_size].double().softmax(-1).tolist()
                expected = -sum(x * log(x) for x in chances if x > 0)
                assert float(next(column)[0]) == pytest.approx(expected, abs=1e-4)


def test_scores_of_a_round_are_in_the_order_of_its_groups(qwen2_dir: Path) -> None:
    """However it was cut into passes, the longest groups last."""
    whole = load(str(qwen2_dir), SamplingConfig(max_new_tokens=10)).scorer
    cut = Scorer(whole.model, whole.codec, whole.sampling, micro_batch_tokens=1)
    rows_PG: list[list[Tokens]] = [[(1, 2, 3, 4), (5, 6)], [(7,), (8,), (9,)], [(1, 2)]]
    prompts = ["a longer prompt", "b", "c"]
    learnable = [True, False, True]
    indices = [i for i, _ in cut.passes(prompts, rows_PG, learnable)]
    assert indices == [[2], [0], [1]]
    for scorer in (whole, cut):
        found = scorer.score(prompts, rows_PG).scores
        lengths = [[len(score.logprob) for score in row] for row in found]
        assert lengths == [[len(row) for row in rows] for rows in rows_PG]
        for p, rows in enumerate(rows_PG):
            (alone,) = scorer.score([prompts[p]], [rows]).scores
            for a, b in zip(found[p], alone, strict=True):
                np.testing.assert_allclose(a.logprob, b.logprob, atol=1e-5)
                np.testing.assert_allclose(a.shortfall, b.shortfall, atol=1e-5)


@pytest.mark.parametrize("top_p", [1.0, 0.7])
def test_what_is_not_a_number_is_not_inside_the_support(qwen2_dir: Path, top_p: float) -> None:
    receiver = load(str(qwen2_dir), SamplingConfig(top_p=top_p, max_new_tokens=10))
    rows_PG = drawn(receiver)
    with torch.no_grad():
        next(receiver.model.parameters()).fill_(float("nan"))
    for row in receiver.scorer.score(PROMPTS, rows_PG).scores:
        for score in row:
            assert np.isnan(score.logprob).all()
            assert np.isnan(score.shortfall).all()


def test_a_draw_whose_logit_is_not_a_number_is_not_inside_either(
    qwen2_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The largest number of a row is then NaN, so it is what would be drawn."""
    monkeypatch.setattr(sampler, "WIDE", 1)
    receiver = trained(qwen2_dir, top_k=20)
    rows = [(7, 8), (9, 10)]
    ((_, forward),) = receiver.scorer.passes(PROMPTS[:1], [rows], [False], [[0, 1]])
    logits = forward.logits()
    logits[0, 7] = float("nan")  # the first token of the first completion
    for name in ("shortfall", "margin"):
        ((first, second),) = forward.column(name)
        assert np.isnan(first).tolist() == [True, False]
        assert not np.isnan(second[1])
