"""A policy that stops and goes on, reads any text, and learns from what counts and nothing else."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoModelForCausalLM, GPT2Config, MistralConfig

from models import EOS, TAGS, byte_tokenizer, save_random_qwen2
from swarmproof import zoo
from swarmproof.config import GrpoConfig, ModelConfig, SamplingConfig
from swarmproof.policies import loss
from swarmproof.policies.loss import PackedBatch
from swarmproof.policies.policy import Policy, Tokens
from swarmproof.types import Completion, Sample, Slot, UpdateStats

PROMPTS = ("one and two", "Q?")
REWARDS_PG = ((1.0, -1.0, 0.5, -0.5), (0.0, 0.0, 0.0, 0.0))


def policy(folder: Path, *, top_k: int = 20, top_p: float = 1.0, **grpo: Any) -> Policy:
    sampling = SamplingConfig(top_k=top_k, top_p=top_p, max_new_tokens=10)
    return Policy(ModelConfig(path=str(folder)), GrpoConfig(**grpo), sampling)


def samples(
    rows_PG: Sequence[Sequence[Tokens]],
    advantages_PG: Sequence[Sequence[float]] = REWARDS_PG,
    *,
    dropped: tuple[int, int] | None = None,
) -> list[list[Sample]]:
    """Samples with these advantages; the dropped one, (p, g), is as `complete` makes it."""
    return [
        [
            Sample(
                completion=Completion(Slot(0, str(p), g), 0, "", row),
                verdicts=(),
                reward=0.0,
                kept=(p, g) != dropped,
                advantage=0.0 if (p, g) == dropped else advantage,
                loss_weight=1 / 8,
            )
            for g, (row, advantage) in enumerate(zip(rows, advantages, strict=True))
        ]
        for p, (rows, advantages) in enumerate(zip(rows_PG, advantages_PG, strict=True))
    ]


def drawn(of: Policy, round: int = 0) -> list[list[Tokens]]:
    return of.generate(PROMPTS, [[100 * round + 10 * p + g for g in range(4)] for p in range(2)])


def accumulate(
    learner: Policy,
    rows_PG: Sequence[Sequence[Tokens]],
    samples_PG: Sequence[Sequence[Sample]],
    *,
    look: bool = False,
) -> None:
    """`look`: a defence reads the scores of every pass before the loss learns from it."""
    kl = learner.reference is not None
    learnable = [kl or any(s.advantage for s in group) for group in samples_PG]
    for indices, forward in learner.passes(PROMPTS, rows_PG, learnable):
        if look:
            assert len(forward.scores) == len(indices)
        learner.accumulate(forward, [samples_PG[p] for p in indices])


def gradients(learner: Policy) -> dict[str, Tensor]:
    named = learner.model.named_parameters()
    return {name: p.grad.clone() for name, p in named if p.grad is not None}


def play(learner: Policy, round: int) -> tuple[list[list[Tokens]], UpdateStats]:
    rows_PG = drawn(learner, round)
    accumulate(learner, rows_PG, samples(rows_PG))
    return rows_PG, learner.step()


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], atol=1e-7, rtol=1e-5, msg=name)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("grpo", [{}, {"beta": 0.1, "updates": 2, "warmup": 5}], ids=["", "more"])
def test_a_restored_policy_goes_on_to_the_last_bit(
    qwen2_dir: Path, dtype: str, grpo: dict[str, Any]
) -> None:
    def fresh() -> Policy:
        config = ModelConfig.model_validate({"path": str(qwen2_dir), "dtype": dtype})
        return Policy(config, GrpoConfig(lr=1e-2, **grpo), SamplingConfig(max_new_tokens=10))

    first = fresh()
    for round in range(2):
        play(first, round)
    saved = {name: tensor.clone() for name, tensor in first.state().items()}
    second = fresh()
    second.restore(saved)
    for round in range(2, 4):
        assert play(first, round) == play(second, round)
    ours, theirs = first.state(), second.state()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    # The control: something was learnt meanwhile, so that equality says something.
    assert not all(torch.equal(ours[name], saved[name]) for name in ours)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
SPELT = st.lists(st.one_of(TEXT, st.sampled_from([EOS, *TAGS])), max_size=5).map("".join)
NORMAL = SPELT.map(lambda text: unicodedata.normalize("NFC", text))


@pytest.fixture(scope="module", params=["byte tokenizer", "tiny-math"])
def reader(request: pytest.FixtureRequest, qwen2_dir: Path) -> Policy:
    return policy(qwen2_dir if request.param == "byte tokenizer" else zoo.path("tiny-math"))


def test_all_normal_text_survives_tokenising(reader: Policy) -> None:
    @settings(max_examples=200)
    @given(text=NORMAL)
    def check(text: str) -> None:
        ids = reader.encode(text)
        assert ids[-1] == reader.eos_token_id
        assert reader.eos_token_id not in ids[:-1]
        assert all(0 <= token < reader.vocab_size for token in ids)
        assert reader.decode([ids, ids[:-1]]) == [text, text]

    check()


def test_control_tokens_spelt_out_in_a_text_stay_text(reader: Policy) -> None:
    eos_text = reader.tokenizer.eos_token
    text = f"before{eos_text}after"
    ids = reader.encode(text)
    assert ids.count(reader.eos_token_id) == 1
    assert reader.decode([ids]) == [text]
    # The control: read as a prompt is read, the same text does hold the token.
    assert reader.encode_prompt(text).count(reader.eos_token_id) == 1


def test_only_one_end_of_text_is_cut_off(reader: Policy) -> None:
    """The text shows every further one, so that no token is invisible."""
    eos = reader.eos_token_id
    word = reader.encode("4")[:-1]
    assert reader.decode([(*word, eos), (*word, eos, eos), (eos,), ()]) == [
        "4",
        f"4{reader.tokenizer.eos_token}",
        "",
        "",
    ]


def test_text_that_a_tokenizer_would_change_is_refused(reader: Policy) -> None:
    """Else the tokens that are verified would not be the text that is rewarded."""
    with pytest.raises(ValueError, match="NFC"):
        reader.encode("cafe\u0301")


def test_a_surrogate_is_refused_and_not_replaced(reader: Policy) -> None:
    with pytest.raises(ValueError, match="surrogate"):
        reader.encode("half a pair: \ud800")


@pytest.mark.parametrize("beta", [0.0, 0.2])
def test_a_pass_that_a_defence_looked_at_gives_the_gradient_of_the_loss_alone(
    model_dir: Path, beta: float
) -> None:
    found = []
    for look in (False, True):
        learner = policy(model_dir, beta=beta)
        rows_PG = drawn(learner)
        samples_PG = samples(rows_PG, dropped=(0, 2))
        accumulate(learner, rows_PG, samples_PG, look=look)
        found.append((gradients(learner), learner.step()))
    (alone, stats), (shared, stats_of_shared) = found
    assert alone
    assert_same(alone, shared)
    assert stats.tokens == stats_of_shared.tokens
    assert stats.loss == pytest.approx(stats_of_shared.loss, abs=1e-6)
    assert (stats.kl or 0) == pytest.approx(stats_of_shared.kl or 0, abs=1e-6)


def test_the_model_runs_once_for_a_defence_and_the_loss(qwen2_dir: Path) -> None:
    learner = policy(qwen2_dir)
    rows_PG = drawn(learner)
    calls: list[int] = []
    learner.model.register_forward_hook(lambda *_: calls.append(1))
    accumulate(learner, rows_PG, samples(rows_PG), look=True)
    assert len(calls) == 2  # a pass over the group with advantages, and one over the other
    calls.clear()
    accumulate(learner, rows_PG, samples(rows_PG))
    assert len(calls) == 1  # nobody looks at the other


@pytest.mark.parametrize("look", [False, True])
@pytest.mark.parametrize("beta", [0.0, 0.2])
def test_a_dropped_completion_contributes_nothing(qwen2_dir: Path, look: bool, beta: float) -> None:
    """Whatever is in it: neither to the gradient, nor to the counts, nor to the KL estimate."""
    found = []
    for poison in ((1, 2, 3), (250, 249, 248, 247, 246, 245)):
        learner = policy(qwen2_dir, beta=beta)
        rows_PG = drawn(learner)
        with torch.no_grad():  # away from the frozen start
            for p in learner.model.parameters():
                p.mul_(1.1)
        rows_PG[0][2] = poison
        accumulate(learner, rows_PG, samples(rows_PG, dropped=(0, 2)), look=look)
        found.append((gradients(learner), learner.step()))
    assert_same(found[0][0], found[1][0])
    assert found[0][1].tokens == found[1][1].tokens
    kl = [stats.kl or 0 for _, stats in found]
    assert kl[0] == pytest.approx(kl[1], rel=1e-5)
    assert (kl[0] > 1e-4) == (beta > 0)
    # The control: kept, the same completion does contribute.
    learner = policy(qwen2_dir, beta=beta)
    rows_PG[0][2] = poison
    accumulate(learner, rows_PG, samples(rows_PG), look=look)
    assert learner.step().tokens == found[1][1].tokens + len(poison)


def test_token_weights_leave_out_single_tokens(qwen2_dir: Path) -> None:
    """A weight of 0 at a token is the loss without that token, at the length of the whole."""
    learner = policy(qwen2_dir, max_grad_norm=1e9)
    row = (5, 6, 7, 8)
    weighted = Sample(
        Completion(Slot(0, "0", 0), 0, "", row), (), 1.0, True, 2.0, 0.5, (1.0, 0.0, 0.0, 0.5)
    )
    ((_, forward),) = learner.passes(PROMPTS[:1], [[row]], [True])
    learner.accumulate(forward, [[weighted]])
    found = gradients(learner)
    assert learner.step().tokens == 2

    again = policy(qwen2_dir)
    batch = PackedBatch((again.encode_prompt(PROMPTS[0]),), ((row,),))
    (logp,) = batch.split(loss.token_logprobs(again.model, batch))
    objective = -2.0 * 0.5 / 4 * (logp[0] + 0.5 * logp[3])
    objective.backward()  # type: ignore[no-untyped-call]
    assert_same(found, gradients(again))


def test_without_advantages_nothing_is_computed_and_nothing_changes(qwen2_dir: Path) -> None:
    learner = policy(qwen2_dir)
    rows_PG = drawn(learner)
    before = {name: p.detach().clone() for name, p in learner.model.named_parameters()}
    learner.model.register_forward_hook(lambda *_: pytest.fail("a pass that cannot matter"))
    accumulate(learner, rows_PG, samples(rows_PG, [[0.0] * 4] * 2))
    assert learner.step() == UpdateStats(0.0, 0.0, None, 0)
    assert all(torch.equal(p, before[name]) for name, p in learner.model.named_parameters())


def test_further_updates_stop_where_the_ratio_is_clipped(
    qwen2_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the second update, tokens beyond the clip have no gradient, and the others have one."""
    lr, seen = 3e-3, []
    grpo_loss = loss.grpo_loss

    def watched(logp: Tensor, weight: Tensor, **more: Any) -> Any:
        result = grpo_loss(logp, weight, **more)
        if more["old_logp"] is not None:
            (grad,) = torch.autograd.grad(result[0], logp, retain_graph=True)
            seen.append((logp.detach(), more["old_logp"], weight, grad))
        return result

    monkeypatch.setattr(loss, "grpo_loss", watched)
    learner = policy(qwen2_dir, updates=3, lr=lr, max_grad_norm=1e9)
    rows_PG = drawn(learner)
    accumulate(learner, rows_PG, samples(rows_PG))
    learner.step()
    assert len(seen) == 2
    for logp, old, weight, grad in seen:
        ratio = (logp - old).exp()
        beyond = ((weight > 0) & (ratio > 1.2)) | ((weight < 0) & (ratio < 0.8))
        assert beyond.any()
        assert not beyond.all()
        assert (grad[beyond] == 0).all()
        torch.testing.assert_close(grad[~beyond], (-weight * ratio)[~beyond])


def test_scores_are_the_logprobs_and_the_distance_from_the_support(model_dir: Path) -> None:
    """Against the definition, by sorting whole rows."""
    for top_k, top_p in ((20, 1.0), (0, 1.0), (0, 0.8), (20, 0.8)):
        receiver = policy(model_dir, top_k=top_k, top_p=top_p)
        rows = [*drawn(receiver)[0], (3, 250, 17), (0,)]
        ((_, forward),) = receiver.passes(PROMPTS[:1], [rows], [True])
        (found,) = forward.scores
        prompt = receiver.encode_prompt(PROMPTS[0])
        for row, score in zip(rows, found, strict=True):
            batch = PackedBatch((prompt,), ((row,),))
            with torch.no_grad():
                logits = loss.token_logits(receiver.model, batch, 1.0)
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


@pytest.mark.parametrize("top_k", [1, 5, 20])
def test_the_last_rank_of_the_support_is_inside_and_the_next_is_not(
    qwen2_dir: Path, top_k: int
) -> None:
    receiver = policy(qwen2_dir, top_k=top_k)
    batch = PackedBatch((receiver.encode_prompt(PROMPTS[0]),), (((0,),),))
    with torch.no_grad():
        logits = loss.token_logits(receiver.model, batch, 1.0)
    by_rank = logits[0].argsort(descending=True).tolist()
    rows = [(by_rank[top_k - 1],), (by_rank[top_k],)]
    ((_, forward),) = receiver.passes(PROMPTS[:1], [rows], [False])
    last, next_one = (float(score.shortfall) for score in forward.scores[0])
    assert last == 0
    assert next_one > 0


def test_one_rule_for_top_p_in_sampling_and_in_verifying(qwen2_dir: Path) -> None:
    receiver = policy(qwen2_dir, top_k=0, top_p=0.7)
    rows_PG = drawn(receiver, round=3)
    for _, forward in receiver.passes(PROMPTS, rows_PG, [True, True]):
        assert all(float(s.shortfall.max()) < 1e-4 for group in forward.scores for s in group)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=300), "rotary"),
        (
            MistralConfig(
                hidden_size=32,
                intermediate_size=32,
                num_hidden_layers=1,
                num_attention_heads=2,
                num_key_value_heads=2,
                head_dim=16,
                vocab_size=300,
                sliding_window=8,
            ),
            "sliding window",
        ),
    ],
    ids=["gpt2", "mistral"],
)
def test_attention_that_packing_does_not_compute_is_refused(
    tmp_path: Path, config: Any, reason: str
) -> None:
    """A model whose attention would come out wrong is refused on loading, with the reason."""
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=reason):
        Policy(ModelConfig(path=str(tmp_path)), GrpoConfig(), SamplingConfig())


def test_nothing_decodes_to_nothing(random_model: Path) -> None:
    assert policy(random_model).decode([]) == []


@pytest.mark.parametrize("top_k", [0, 20])
def test_embeddings_beyond_the_vocabulary_are_never_drawn_nor_learnt(
    tmp_path: Path, top_k: int
) -> None:
    """As many again as the vocabulary has: half of all draws would be such ids."""
    folder = save_random_qwen2(tmp_path, padding=len(byte_tokenizer()))
    padded = policy(folder, top_k=top_k, beta=0.1, lr=1e-2)
    assert padded.vocab_size == len(padded.tokenizer) < padded.model.config.vocab_size
    rows = padded.generate(PROMPTS, [[10 * p + g for g in range(4)] for p in range(2)])
    assert max(token for group in rows for row in group for token in row) < padded.vocab_size
    before = padded.model.get_input_embeddings().weight[padded.vocab_size :].clone()
    ((indices, forward),) = padded.passes(list(PROMPTS), rows, [True, True])
    for p, scores in zip(indices, forward.scores, strict=True):
        for row, score in zip(rows[p], scores, strict=True):
            assert score.logprob.isfinite().all()
            assert (score.shortfall == 0).all(), row
    of_groups = samples(rows)
    padded.accumulate(forward, [of_groups[p] for p in indices])
    stats = padded.step()
    assert all(p.isfinite().all() for p in padded.model.parameters())
    assert stats.grad_norm > 0
    assert padded.model.get_input_embeddings().weight[padded.vocab_size :].equal(before)
