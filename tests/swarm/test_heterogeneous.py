"""Several models: a cohort for each, and of what another model wrote only the text is used."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models import save_random_llama, save_random_qwen2
from swarmproof.config import TrialConfig
from swarmproof.exchange import Channel, Gathered, wire
from swarmproof.policies.policy import TrainedPolicy
from swarmproof.records.streams import COMPLETIONS, ROUNDS, read_completions, read_rounds
from swarmproof.swarm.assembly import assemble, check
from swarmproof.swarm.round import RoundOutcome, Swarm, play_round
from swarmproof.swarm.trial import Trial, run_trial
from swarmproof.types import NodeId, Sample
from swarms import trial_config

ALL_COMPLETIONS = 32


def config_of(models: Sequence[Path], **changes: Any) -> TrialConfig:
    table: dict[str, Any] = {
        "swarm": {"models": [str(model) for model in models]},
        "batch": {"problems": 4, "group_size": 8},
        # What is no UTF-8 has three bytes as text: long enough that some can read it all the same.
        "sampling": {"max_new_tokens": 96},
        "rounds": 3,
    }
    return trial_config(models[0], **(table | changes))


@pytest.fixture
def config(random_model: Path, foreign_model: Path) -> TrialConfig:
    """Nodes 0 and 2 train the first model, node 1 the second; node 3 is malicious."""
    return config_of([random_model, foreign_model])


def play(swarm: Swarm, round: int = 0) -> dict[str, RoundOutcome]:
    return {outcome.record.cohort: outcome for outcome in play_round(swarm, round)}


def samples_of(outcome: RoundOutcome) -> list[Sample]:
    return [sample for row in outcome.found.samples for sample in row]


class Rewritten(Channel):
    """Replaces the token ids in what some nodes publish by nonsense."""

    def __init__(self, swarm: Swarm, nodes: tuple[NodeId, ...]):
        self.swarm, self.nodes = swarm, nodes

    def publish(self, round: int, node: NodeId, payload: bytes) -> None:
        if node in self.nodes:
            run_id, slots = self.swarm.run_id, self.swarm.deal(round).slots[node]
            opened = wire.open_message(payload, node=node, round=round, run_id=run_id, limit=10**6)
            assert isinstance(opened, wire.Opened)
            found, _ = wire.match(opened, slots, 999)
            nonsense = [dataclasses.replace(c, token_ids=(7,)) for c in found]
            payload = wire.encode(round, nonsense, run_id=run_id)
        self.swarm.channel.publish(round, node, payload)

    def gather(self, round: int, senders: Collection[NodeId], deadline: float) -> Gathered:
        return self.swarm.channel.gather(round, senders, deadline)


def test_the_same_model_given_twice_is_a_swarm_of_one_model(
    random_model: Path, tmp_path: Path
) -> None:
    for name, models in (("twice", [random_model] * 2), ("once", [])):
        swarm = {"models": list(map(str, models))}
        config = config_of([random_model], swarm=swarm, defenses=[{"name": "logit"}])
        run_trial(Trial("e", "a", 0, config, tmp_path / name), resume=False)
    for stream in (ROUNDS, COMPLETIONS):
        once, twice = (tmp_path / name / stream for name in ("once", "twice"))
        assert once.read_bytes() == twice.read_bytes()


def test_token_ids_of_another_vocabulary_are_never_looked_at(config: TrialConfig) -> None:
    plain = play(assemble(config, 0))
    swarm = assemble(config, 0)
    first, second = (cohort.name for cohort in swarm.cohorts)
    rewritten = play(dataclasses.replace(swarm, channel=Rewritten(swarm, (1, 3))))
    assert samples_of(rewritten[first]) == samples_of(plain[first])
    # To node 1's own cohort they are its own, and what they are not is refused.
    others = [s for s in samples_of(plain[second]) if s.completion.node != 1]
    assert [s.completion for s in samples_of(rewritten[second])] == [s.completion for s in others]
    assert len(others) < len(samples_of(plain[second]))


def test_a_completion_is_read_by_the_receivers_own_tokenizer_or_counted_as_malformed(
    config: TrialConfig,
) -> None:
    swarm = assemble(config, 0)
    drawn = {
        c.slot: c
        for cohort in swarm.cohorts
        for completions in cohort.produce(swarm.deal(0), swarm.local).values()
        for c in completions
    }
    outcomes = play(swarm)
    limit = config.sampling.max_new_tokens
    for cohort in swarm.cohorts:
        outcome = outcomes[cohort.name]
        foreign = set()
        for sample in samples_of(outcome):
            completion = sample.completion
            if completion.node in cohort.nodes:
                assert completion == drawn[completion.slot]
            else:
                read = cohort.policy.codec.encode(completion.text)
                assert sample.tokens == (read if len(read) <= limit else read[:-1])
                foreign.add(completion.node)
        assert len(foreign) > 1
        assert len(samples_of(outcome)) + outcome.record.malformed == ALL_COMPLETIONS
    # A text of few tokens for its writer may be too long for a reader with a smaller vocabulary.
    assert outcomes["random"].record.malformed > 0


def test_a_cohort_learns_what_its_model_would_alone_from_the_same_samples(
    config: TrialConfig,
) -> None:
    swarm = assemble(config, 0)
    alone = {cohort.name: cohort.policy for cohort in assemble(config, 0).cohorts}
    learned = 0
    for round in range(3):
        for name, outcome in play(swarm, round).items():
            learn(alone[name], swarm, samples_of(outcome))
            learned += outcome.record.groups_learned
    assert learned > 3
    for cohort in swarm.cohorts:
        pairs = zip(
            cohort.policy.model.parameters(), alone[cohort.name].model.parameters(), strict=True
        )
        for mine, theirs in pairs:
            torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("rule", ["all", "positive"])
def test_a_cohort_knows_which_text_may_teach_by_its_good_completions_only(
    random_model: Path, foreign_model: Path, rule: str
) -> None:
    config = config_of([random_model, foreign_model], grpo={"foreign": rule})
    own: set[float] = set()
    others: set[float] = set()
    swarm = assemble(config, 0)
    cohorts = {cohort.name: cohort for cohort in swarm.cohorts}
    for round in range(3):
        for name, outcome in play(swarm, round).items():
            for sample in samples_of(outcome):
                mine = sample.completion.node in cohorts[name].nodes
                (own if mine else others).add(float(np.sign(sample.advantage)))
    assert {-1, 1} <= own
    assert 1 in others
    assert (-1 in others) is (rule == "all")


def learn(policy: TrainedPolicy, swarm: Swarm, samples: Sequence[Sample]) -> None:
    """One update of a policy that knows of no swarm."""
    by_problem: dict[str, list[Sample]] = {}
    for sample in samples:
        by_problem.setdefault(sample.completion.slot.problem_id, []).append(sample)
    groups = list(by_problem.values())
    passes = policy.scorer.passes(
        [swarm.task.prompt(swarm.train[name]) for name in by_problem],
        [[s.tokens for s in group] for group in groups],
        [True] * len(groups),
    )
    for indices, forward in passes:
        policy.learner.accumulate(forward, [groups[p] for p in indices])
    policy.learner.step()


def test_the_adversary_holds_the_first_model(random_model: Path, foreign_model: Path) -> None:
    swarm = assemble(config_of([foreign_model, random_model]), 0)
    assert swarm.adversary is not None
    assert swarm.adversary.policy.model is swarm.cohorts[0].policy.model
    assert swarm.adversary.policy.model.config.model_type == "llama"
    assert not isinstance(swarm.adversary.policy, TrainedPolicy), "it may read, and not train"


def test_a_run_has_a_record_and_the_completions_of_every_cohort(
    config: TrialConfig, tmp_path: Path
) -> None:
    told: list[tuple[int, str]] = []
    run_trial(
        Trial("e", "a", 0, config, tmp_path),
        resume=False,
        on_round=lambda record, _: told.append((record.round, record.cohort)),
    )
    names = ["random", "foreign"]
    assert told == [(round, name) for round in range(3) for name in names]
    assert [(r.round, r.cohort) for r in read_rounds(tmp_path)] == told
    rows = list(read_completions(tmp_path))
    for record in read_rounds(tmp_path):
        own = [r for r in rows if (r["round"], r["cohort"]) == (record.round, record.cohort)]
        assert len(own) == record.honest + record.poisoned == ALL_COMPLETIONS - record.malformed


# (cohort, reward, length, grad_norm, tokens learnt from) of the run below; see test_experiment.py.
GOLDEN: list[tuple[str, float, float, float, int]] = [
    ("random", 0, 83.6875, 0, 0),
    ("foreign", 0, 83.25, 0.817492, 558),
    ("random", 0, 80.125, 1.41003, 1201),
    ("foreign", 0.125, 91.5, 0.771804, 624),
    ("random", 0.125, 79.8125, 0.127653, 332),
    ("foreign", 0, 57.25, 1.00343, 638),
]


def test_a_run_with_a_fixed_seed_gives_the_numbers_that_it_always_gave(
    config: TrialConfig, tmp_path: Path
) -> None:
    config = config.model_copy(update={"defenses": ({"name": "surprise"},)})
    run_trial(Trial("e", "a", 0, config, tmp_path), resume=False)
    found = [
        (r.cohort, r.reward, r.length, r.grad_norm, r.learned_tokens) for r in read_rounds(tmp_path)
    ]
    for mine, golden in zip(found, GOLDEN, strict=True):
        assert mine[0] == golden[0]
        assert mine[1:] == pytest.approx(golden[1:], rel=2e-3, abs=1e-5), found


# Mistakes -----------------------------------------------------------------------------------------


def broken(folder: Path, kind: str) -> Path:
    """A model that cannot take part."""
    if kind in ("no tokenizer", "no end"):
        save_random_llama(folder)
    if kind == "no tokenizer":
        (folder / "tokenizer.json").unlink()
        (folder / "tokenizer_config.json").unlink()
    elif kind == "no tokenizer, Qwen":
        save_random_qwen2(folder)
        (folder / "tokenizer.json").unlink()
    elif kind == "no end":
        path = folder / "tokenizer_config.json"
        table = json.loads(path.read_text())
        del table["eos_token"]
        path.write_text(json.dumps(table))
    elif kind == "lower case":
        save_random_llama(folder)
        path = folder / "tokenizer.json"
        table = json.loads(path.read_text())
        table["normalizer"] = {"type": "Lowercase"}
        path.write_text(json.dumps(table))
    return folder


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("nothing", "swarm.models = .*not a directory"),
        ("no tokenizer", "cannot load swarm.models = .*its tokenizer is with it"),
        ("no tokenizer, Qwen", "swarm.models = .* has no tokenizer; put the files"),
        ("no end", "swarm.models = .* has no end-of-text token; set eos_token"),
        ("lower case", "cannot share the task 'letters': its tokenizer does not give .* back"),
    ],
)
def test_a_model_that_cannot_take_part_is_told_before_any_is_loaded(
    random_model: Path, tmp_path: Path, kind: str, words: str
) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        check(config_of([random_model, broken(tmp_path / "model", kind)]))
    assert "\n" not in str(caught.value)


def test_a_model_that_cannot_write_an_answer_within_the_limit_is_told(config: TrialConfig) -> None:
    check(config)
    short = config.sampling.model_copy(update={"max_new_tokens": 10})
    with pytest.raises(ValueError, match=r"a right answer has \d+ of its tokens .*raise sampling"):
        check(config.model_copy(update={"sampling": short}))


def test_there_are_no_more_models_than_honest_nodes() -> None:
    with pytest.raises(ValueError, match="4 models for 3 honest nodes; list fewer, or raise"):
        config_of([Path("a")] * 4)
