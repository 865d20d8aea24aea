"""The generator `vllm` draws our noise with the weights of the moment, from a stand-in engine.

The same with vLLM itself: tests/integrations/test_vllm_engine.py.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from models import save_random_llama, save_random_qwen2
from policies import stand_in_engine
from policies.stand_in_engine import Direction, Engine
from swarmproof import Group, Guard
from swarmproof.config import ModelConfig, SamplingConfig
from swarmproof.policies import vllm_generator
from swarmproof.policies.addressed_draws import SEED, AddressedDraws
from swarmproof.policies.policy import Policy, load
from swarmproof.policies.vllm_generator import Vllm
from swarmproof.randomness import derive_seed
from swarmproof.records.streams import COMPLETIONS, ROUNDS
from swarmproof.swarm.assembly import check
from swarmproof.swarm.trial import Trial, run_trial
from swarmproof.types import Completion, Problem, Slot
from swarms import trial_config

PROMPTS = ("one and two", "Q?", "0 1 2 3 4 5")
# Of each prompt another number, and of one none.
SEEDS = [[derive_seed(0, "completion", p, g) for g in range(n)] for p, n in enumerate((5, 0, 4))]


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in_engine.install(monkeypatch)


@pytest.fixture(scope="module", params=["tied", "untied"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("models") / request.param
    if request.param == "tied":  # and with embeddings that stand for no token
        return save_random_qwen2(where, hidden=32, padding=64)
    return save_random_llama(where)


def drawer(folder: Path, **sampling: Any) -> Policy:
    return load(str(folder), SamplingConfig(max_new_tokens=20, **sampling))


def started(of: Policy, **settings: Any) -> Any:
    return Vllm(**{"max_rows": 3, **settings}).start(of.model, of.codec, of.sampling, None)


@pytest.mark.parametrize(
    "sampling", [{}, {"top_k": 5, "temperature": 0.7}, {"top_k": 0}, {"top_p": 0.8}], ids=str
)
def test_it_draws_what_our_generator_draws(folder: Path, sampling: dict[str, Any]) -> None:
    ours = drawer(folder, **sampling)
    drawn = started(ours).generate(PROMPTS, SEEDS)
    assert drawn == ours.generator.generate(PROMPTS, SEEDS)
    rows = [tokens for row in drawn for tokens in row]
    assert len({*rows}) == 9, "every slot has its own draw"
    assert {ours.codec.known_ids.issuperset(tokens) for tokens in rows} == {True}


def test_end_of_text_is_drawn_as_any_token(folder: Path) -> None:
    ours = drawer(folder)
    with torch.no_grad():  # so that it is likely
        ours.model.get_output_embeddings().weight[ours.codec.eos_token_id] *= 4
    drawn = started(ours).generate(PROMPTS, SEEDS)
    assert drawn == ours.generator.generate(PROMPTS, SEEDS)
    ended = [tokens[-1] in ours.codec.end_ids for row in drawn for tokens in row]
    assert True in ended
    lengths = {len(tokens) for row in drawn for tokens in row}
    assert len(lengths) > 2, "rows leave the batch at different times"


def test_it_draws_with_the_weights_of_the_moment(folder: Path) -> None:
    ours = drawer(folder)
    generator = started(ours)
    before = generator.generate(PROMPTS, SEEDS)
    with torch.no_grad():
        for weight in ours.model.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    after = generator.generate(PROMPTS, SEEDS)
    assert after != before
    assert after == ours.generator.generate(PROMPTS, SEEDS)


def refused(of: Policy, drawn: list[Any], seeds: list[list[int]]) -> int:
    """How many completions `replay` refuses."""
    guard = Guard(["replay"], model=of, sampling=of.sampling)
    groups = []
    for p, (prompt, row) in enumerate(zip(PROMPTS, drawn, strict=True)):
        if row:
            texts = zip(of.codec.decode(row), row, strict=True)
            sent = tuple(Completion(Slot(0, str(p), g), g, *pair) for g, pair in enumerate(texts))
            groups.append(Group(Problem(str(p), prompt, "", ()), sent, prompt, tuple(seeds[p])))
    rewards = [[0.0] * len(group.completions) for group in groups]
    found = guard(groups, rewards, round=0)
    return sum(not verdict.accepted for row in found.verdicts for (verdict,) in row)


def test_replay_accepts_its_draws_and_no_others(folder: Path) -> None:
    ours = drawer(folder)
    generator = started(ours)
    assert refused(ours, generator.generate(PROMPTS, SEEDS), SEEDS) == 0
    other = [[seed + 1 for seed in row] for row in SEEDS]
    assert refused(ours, generator.generate(PROMPTS, other), SEEDS) == 9


class Deaf(Engine):
    """Keeps the weights that it was made with."""

    def collective_rpc(self, method: str, kwargs: dict[str, Any]) -> None:
        pass


class Broken(Engine):
    def __init__(self, model: str, **settings: Any) -> None:  # noqa: ARG002
        raise RuntimeError("head_dim=16 is\nnot supported")


class Narrow(Engine):
    context = 24  # the first draws fit into it


class Silent(Engine):
    """Returns requests without a token, as for a prompt that fills the context."""

    def generate(
        self,
        requests: Sequence[Any],
        params: Sequence[Any],  # noqa: ARG002
        use_tqdm: bool,  # noqa: ARG002
    ) -> list[Any]:
        return [SimpleNamespace(outputs=[SimpleNamespace(token_ids=[])]) for _ in requests]


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        (Silent, r"vLLM stopped after 0 of 16 tokens: .*context is full"),
        (Deaf, r"vLLM draws otherwise than this model does: a logit is off by .*\"packed\""),
        (Broken, r"vLLM does not run this model here \(head_dim=16 is not supported\); use"),
        (Narrow, r"vLLM stopped after \d+ of 20 tokens: .*lower sampling.max_new_tokens"),
    ],
)
def test_what_cannot_be_drawn_with_is_said_in_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Engine], line: str
) -> None:
    stand_in_engine.install(monkeypatch, kind)
    with pytest.raises(ValueError, match=line) as error:
        started(drawer(folder)).generate(PROMPTS, SEEDS)
    assert "\n" not in str(error.value)


def test_it_runs_in_this_process_with_the_runner_whose_processors_we_write(folder: Path) -> None:
    started(drawer(folder))
    assert os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
    assert os.environ["VLLM_USE_V2_MODEL_RUNNER"] == "0"


def test_rows_keep_their_slots_when_the_batch_changes() -> None:
    draws = AddressedDraws(SamplingConfig(), ())

    def change(removed: Any = (), added: Any = (), moved: Any = ()) -> dict[int, int]:
        new: list[Any] = [
            (i, SimpleNamespace(extra_args={SEED: seed}), [], []) for i, seed in added
        ]
        draws.update(SimpleNamespace(removed=removed, added=new, moved=moved))
        return {row: seed for row, (seed, _) in draws.rows.items()}

    assert change(added=[(0, 10), (1, 11), (2, 12)]) == {0: 10, 1: 11, 2: 12}
    assert change(moved=[(0, 2, Direction.SWAP)]) == {0: 12, 1: 11, 2: 10}
    assert change(removed=[0], moved=[(2, 0, Direction.UNIDIRECTIONAL)]) == {0: 10, 1: 11}
    # A new request takes the row of one that has ended.
    assert change(added=[(1, 13), (2, 14)]) == {0: 10, 1: 13, 2: 14}
    draws.update(None)
    assert change(removed=[2, 1, 0]) == {}


def test_a_trial_with_it_writes_the_same_bytes(random_model: Path, tmp_path: Path) -> None:
    small: dict[str, Any] = {
        "rounds": 2,
        "batch": {"problems": 2},
        "sampling": {"max_new_tokens": 9},
        "defenses": [{"name": "replay"}],
    }
    config = trial_config(random_model, **small)
    other = trial_config(random_model, **small, generator={"name": "vllm", "max_rows": 7})
    before = Engine.steps
    for name, each in (("packed", config), ("vllm", other)):
        check(each)
        run_trial(Trial("test", name, 0, each, tmp_path / name), resume=False)
    assert Engine.steps > before
    for file in (ROUNDS, COMPLETIONS):
        ours, theirs = (tmp_path / name / file for name in ("packed", "vllm"))
        assert ours.read_bytes() == theirs.read_bytes(), file


def test_without_the_package_the_line_names_the_remedy(
    random_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_generator, "find_spec", lambda _name: None)
    check(trial_config(random_model))
    with pytest.raises(ValueError, match=r"^the generator 'vllm' needs vLLM: pip install .*packed"):
        check(trial_config(random_model, generator={"name": "vllm"}))


@pytest.mark.parametrize("device", ["cuda:1", "cuda:10"])
def test_another_gpu_than_the_first_is_refused(device: str) -> None:
    with pytest.raises(ValueError, match=rf"model.device is {device}, .*CUDA_VISIBLE_DEVICES"):
        Vllm().require(ModelConfig(device=device))
    for fine in ("cpu", "cuda", "cuda:0"):
        Vllm().require(ModelConfig(device=fine))
