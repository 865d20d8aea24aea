"""A policy reads without learning, whoever loaded its model, and refuses what it cannot read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    MistralConfig,
    PhiConfig,
    PhiForCausalLM,
)

from models import byte_tokenizer, save_random_qwen2
from policies.lessons import PROMPTS, drawn, play, samples, trained
from swarmproof.config import GrpoConfig, ModelConfig, SamplingConfig
from swarmproof.policies import loss, sampler
from swarmproof.policies.learner import Learner
from swarmproof.policies.policy import Policy, adopt, load, train


def held(thing: object, seen: set[int] | None = None) -> Iterator[object]:
    """All that an object of ours holds on to, however deep: models, tensors, optimisers."""
    seen = set() if seen is None else seen
    if id(thing) in seen:
        return
    seen.add(id(thing))
    yield thing
    inner: list[object] = []
    if isinstance(thing, torch.nn.Module):
        inner = [*thing.parameters(), *thing.buffers()]
    elif isinstance(thing, torch.optim.Optimizer):
        inner = [thing.param_groups, *thing.state.values()]
    elif isinstance(thing, dict):
        inner = list(thing.values())
    elif isinstance(thing, list | tuple | set | frozenset):
        inner = list(thing)
    elif type(thing).__module__.startswith("swarmproof"):
        slots = [name for base in type(thing).__mro__ for name in getattr(base, "__slots__", ())]
        inner = [getattr(thing, name) for name in slots if hasattr(thing, name)]
        inner += getattr(thing, "__dict__", {}).values()
    for part in inner:
        yield from held(part, seen)


def num_bytes(thing: object) -> int:
    """Of all tensors that it holds, shared memory counted once."""
    storages = [part.untyped_storage() for part in held(thing) if isinstance(part, Tensor)]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def learns(thing: object) -> bool:
    return any(isinstance(part, torch.optim.Optimizer | Learner) for part in held(thing))


def test_what_only_reads_holds_the_weights_once_and_no_optimiser(qwen2_dir: Path) -> None:
    """In bf16, where an optimiser works on a copy of its own in fp32."""
    config = ModelConfig(path=str(qwen2_dir), dtype="bfloat16")
    plain = AutoModelForCausalLM.from_pretrained(qwen2_dir, dtype=torch.bfloat16)
    once = num_bytes(plain)
    assert 2 * plain.num_parameters() <= once < 2.1 * plain.num_parameters()
    sampling = SamplingConfig(max_new_tokens=10)
    learner = train(config, GrpoConfig(beta=0.1), sampling)
    play(learner, 0)
    # The control: weights and reference in bf16, masters and two moments in fp32.
    assert learns(learner)
    assert num_bytes(learner) > (1 + 1 + 2 + 2 + 2) * 0.9 * once
    for reader in (
        load(config, sampling),
        adopt(plain, AutoTokenizer.from_pretrained(qwen2_dir), sampling),
        learner.reader(),
    ):
        assert type(reader) is Policy
        assert not learns(reader)
        assert num_bytes(reader) == once
    # It goes on reading what is learnt.
    reader = learner.reader()
    assert reader.model is learner.model
    rows_PG = drawn(reader)
    before = reader.scorer.score(PROMPTS, rows_PG).scores
    play(learner, 1)
    after = reader.scorer.score(PROMPTS, rows_PG).scores
    assert not np.array_equal(before[0][0].logprob, after[0][0].logprob)


@pytest.fixture(scope="module")
def phi_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with dropout, and with more embeddings than its vocabulary has."""
    folder = tmp_path_factory.mktemp("models") / "phi"
    config = PhiConfig(
        vocab_size=len(byte_tokenizer()) + 40,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        attention_dropout=0.3,
        embd_pdrop=0.3,
        resid_pdrop=0.3,
        eos_token_id=byte_tokenizer().eos_token_id,
        initializer_range=0.3,
    )
    torch.manual_seed(0)
    PhiForCausalLM(config).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def foreign(phi_dir: Path) -> Any:
    """A model as a trainer has it: loaded by plain transformers, and in training mode."""
    return AutoModelForCausalLM.from_pretrained(phi_dir, attn_implementation="sdpa").train()


def state_of(model: Any) -> tuple[Any, ...]:
    """What a trainer would notice, logits under one draw of dropout included."""
    torch.manual_seed(3)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[65, 66, 67, 68]])).logits
    modes = [(name, module.training) for name, module in model.named_modules()]
    hooks = [name for name, module in model.named_modules() if module._forward_hooks]
    return model.config._attn_implementation, modes, hooks, logits.numpy().tobytes()


SAMPLING = SamplingConfig(temperature=0.9, top_k=20, max_new_tokens=12)


def test_an_adopted_model_draws_and_scores_as_one_that_is_loaded(
    phi_dir: Path, foreign: Any
) -> None:
    before = state_of(foreign)
    assert (before[0], foreign.training, before[2]) == ("sdpa", True, [])
    adopted = adopt(foreign, AutoTokenizer.from_pretrained(phi_dir), SAMPLING)
    loaded = load(str(phi_dir), SAMPLING)
    assert adopted.codec.vocab_size == loaded.codec.vocab_size < foreign.config.vocab_size
    rows_PG = drawn(loaded)
    assert drawn(adopted) == rows_PG
    assert state_of(foreign) == before
    ours, theirs = (p.scorer.score(PROMPTS, rows_PG).scores for p in (adopted, loaded))
    assert [len(row) for row in ours] == [len(row) for row in theirs] == [4, 4]
    for row, other in zip(ours, theirs, strict=True):
        for a, b in zip(row, other, strict=True):
            np.testing.assert_array_equal(a.logprob, b.logprob)
            np.testing.assert_array_equal(a.shortfall, b.shortfall)
    assert state_of(foreign) == before
    # The control: dropout is there, and at work in the trainer's own passes.
    torch.manual_seed(4)
    with torch.no_grad():
        logits = foreign(input_ids=torch.tensor([[65, 66, 67, 68]])).logits
    assert logits.numpy().tobytes() != before[3]
    assert logits.isfinite().all(), "the padding too"


def test_parts_that_a_trainer_has_put_into_evaluation_mode_stay_in_it(
    phi_dir: Path, foreign: Any
) -> None:
    """Such as layers that it has frozen."""
    foreign.model.layers[0].eval()
    before = state_of(foreign)
    adopted = adopt(foreign, AutoTokenizer.from_pretrained(phi_dir), SAMPLING)
    drawn(adopted)
    assert state_of(foreign) == before


def _score(of: Policy) -> None:
    of.scorer.score(PROMPTS[:1], [[(1, 2)]])


@pytest.mark.parametrize(
    ("module", "function", "use"),
    [(sampler, "draw", drawn), (loss, "pack", _score)],
    ids=["draw", "score"],
)
def test_a_trainer_gets_its_model_back_also_from_what_went_wrong(
    phi_dir: Path,
    foreign: Any,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    function: str,
    use: Callable[[Policy], object],
) -> None:
    during: list[tuple[str, bool]] = []

    def broken(*_: Any) -> Any:
        during.append((foreign.config._attn_implementation, foreign.training))
        raise RuntimeError("out of memory")

    before = state_of(foreign)
    adopted = adopt(foreign, AutoTokenizer.from_pretrained(phi_dir), SAMPLING)
    monkeypatch.setattr(module, function, broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        use(adopted)
    ((attention, training),) = during
    assert (attention, training) != ("sdpa", True), "it was changed at that moment"
    assert state_of(foreign) == before


def test_a_model_without_a_tokenizer_is_not_adopted(foreign: Any) -> None:
    with pytest.raises(ValueError, match="give its tokenizer"):
        adopt(foreign, None)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=300), "packed rows"),
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
    """A model whose attention would come out wrong is refused, with the reason."""
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=reason):
        load(str(tmp_path))
    with pytest.raises(ValueError, match=reason):
        train(ModelConfig(path=str(tmp_path)), GrpoConfig(), SamplingConfig())
    with pytest.raises(ValueError, match=reason):
        adopt(model, byte_tokenizer())


@pytest.mark.parametrize("top_k", [0, 20])
def test_embeddings_beyond_the_vocabulary_are_never_drawn_nor_learnt(
    tmp_path: Path, top_k: int
) -> None:
    """As many again as the vocabulary has: half of all draws would be such ids."""
    folder = save_random_qwen2(tmp_path, padding=len(byte_tokenizer()))
    padded = trained(folder, top_k=top_k, beta=0.1, lr=1e-2)
    vocab_size = padded.codec.vocab_size
    assert vocab_size == len(padded.codec.tokenizer) < padded.model.config.vocab_size
    rows = padded.generator.generate(PROMPTS, [[10 * p + g for g in range(4)] for p in range(2)])
    assert max(token for group in rows for row in group for token in row) < vocab_size
    before = padded.model.get_input_embeddings().weight[vocab_size:].clone()
    ((indices, forward),) = padded.scorer.passes(list(PROMPTS), rows, [True, True])
    for p, scores in zip(indices, forward.scores, strict=True):
        for row, score in zip(rows[p], scores, strict=True):
            assert np.isfinite(score.logprob).all()
            assert (score.shortfall == 0).all(), row
    of_groups = samples(rows)
    padded.learner.accumulate(forward, [of_groups[p] for p in indices])
    stats = padded.learner.step()
    assert all(p.isfinite().all() for p in padded.model.parameters())
    assert stats.grad_norm > 0
    assert padded.model.get_input_embeddings().weight[vocab_size:].equal(before)
