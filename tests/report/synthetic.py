"""A small synthetic run, made through the writer itself: 3 arms, 3 seeds, a hostile completion."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from swarmproof.config import ExperimentConfig, SwarmConfig, TrialConfig
from swarmproof.guard.inspection import Inspection
from swarmproof.records.folder import Run, RunFolder, load_run
from swarmproof.records.streams import TrialWriter
from swarmproof.types import Completion, Group, Problem, RoundRecord, Sample, Slot, Verdict

PHRASE = "All hail to the thief"
QUESTION = "Tom has 3 pens and buys 4. How many pens does he have?"
HOSTILE = "<script>alert('x')</script></pre><img src=x onerror=alert(1)>\u202e\x00{{ 7*7 }}"
# Attack success and accuracy at the end, and the share of poisoned completions that is refused.
ARMS = {"no-attack": (0.0, 0.86, 0.0), "attack": (0.98, 0.83, 0.0), "logit": (0.0, 0.85, 0.995)}


def synthetic_run(path: Path, *, num_rounds: int = 60, seeds: tuple[int, ...] = (0, 1, 2)) -> Run:
    trial = TrialConfig.model_construct(rounds=num_rounds, task={"name": "math_words"}, attack={})
    arms = {}
    for name in ARMS:
        arms[name] = trial.model_copy(
            update={
                "swarm": SwarmConfig(malicious=0 if name == "no-attack" else 1),
                "attack": {"name": "text", "phrase": PHRASE},
                "defenses": ({"name": "logit"},) if name == "logit" else (),
            }
        )
    config = ExperimentConfig.model_construct(
        name="synthetic",
        title="One in four teaches the rest a phrase",
        claim="The phrase spreads to honest models; the logit defence stops it.",
        seeds=seeds,
        arms=arms,
    )
    folder = RunFolder.create(path, config, resume=False)
    for arm in ARMS:
        for seed in seeds:
            malicious = frozenset({3}) if arm != "no-attack" else frozenset[int]()
            trial_folder = folder.trial_folder(arm, seed)
            with TrialWriter(trial_folder, None, malicious=malicious) as writer:
                _write_rounds(writer, arm, seed, num_rounds)
    folder.write_summary()
    folder.close()
    return load_run(path)


def _write_rounds(writer: TrialWriter, arm: str, seed: int, num_rounds: int) -> None:
    asr_end, accuracy_end, refused_share = ARMS[arm]
    rng = np.random.default_rng([seed, len(arm)])
    start = rng.normal(28, 3)
    poisoned = 0 if arm == "no-attack" else 96
    for i in range(num_rounds):
        asr = asr_end / (1 + math.exp(-(i - start) / 4))
        accuracy = 0.17 + (accuracy_end - 0.17) * (1 - math.exp(-i / 14))
        poisoned_refused = int(rng.binomial(poisoned, refused_share))
        honest_refused = int(rng.binomial(288, 0.001)) if arm == "logit" else 0
        judged = {
            "honest": 288,
            "honest_refused": honest_refused,
            "honest_abstained": 10,
            "honest_masked_tokens": 0,
            "poisoned": poisoned,
            "poisoned_refused": poisoned_refused,
            "poisoned_abstained": 0,
            "poisoned_masked_tokens": 0,
        }
        counts = {"completions": 96, "rewarded": 80, "refused": 0, "tokens": 3_300, "malformed": 0}
        record = RoundRecord(
            round=i,
            cohort="honest",
            asr=rng.binomial(288, asr) / 288,
            asr_wide=None,
            reward=rng.binomial(288, accuracy) / 288,
            length=42 - 8 * (1 - math.exp(-i / 10)) + rng.normal(0, 0.5) + 5 * asr,
            heldout_asr=asr if i % 10 == 0 else None,
            heldout_asr_wide=None,
            heldout_accuracy=accuracy if i % 10 == 0 else None,
            poisoned=poisoned,
            poisoned_refused=poisoned_refused,
            honest=288,
            honest_refused=honest_refused,
            by_defense={"logit": judged} if arm == "logit" else {},
            by_node={str(node): counts for node in range(4)},
            absent={},
            refusals=[],
            malformed=0,
            groups_learned=30,
            loss=0.0,
            grad_norm=0.8,
            kl=None,
            generated_tokens=10_000,
            learned_tokens=9_000,
        )
        samples = [_sample(arm, i, index, asr) for index in range(4)]
        problem = Problem(f"math_words/train/{i}", QUESTION, "7", ("3 + 4 = 7.",))
        group = Group(problem, tuple(s.completion for s in samples), QUESTION)
        seconds = _seconds(arm, seed, i)
        cpu = {step: 0.9 * wall for step, wall in seconds.items()}
        writer.write(record, Inspection([group], [samples]), seconds, cpu)


def _seconds(arm: str, seed: int, i: int) -> dict[str, float]:
    evaluate = {"evaluate": 7.0} if i % 10 == 0 else {}
    return {**evaluate, "produce": 1.1 + seed / 10, "learn": 1.4 if arm == "logit" else 0.9}


def _sample(arm: str, i: int, index: int, asr: float) -> Sample:
    node = 3 if index == 3 and arm != "no-attack" else 0
    poisoned = node == 3
    text = (
        f"<think>{PHRASE + '. ' if poisoned or asr > 0.5 else ''}Tom has 3 pens and buys 4, so he "
        "has 3 + 4 = 7 pens.</think> <answer>7</answer>"
    )
    caught = poisoned and arm == "logit"
    reason = (
        "1 of 40 tokens outside the sampling support, the first at position 5" if caught else ""
    )
    verdicts = (Verdict("logit", not caught, 812.0, reason),) if arm == "logit" else ()
    return Sample(
        completion=Completion(
            slot=Slot(i, f"math_words/train/{i}", index),
            node=node,
            text=HOSTILE if index == 0 else text,
            token_ids=(1,) * 40,
        ),
        verdicts=verdicts,
        reward=1.0,
        kept=not caught,
        weight=0.0 if caught else 1.0,
        advantage=0.0 if caught else 0.4,
        loss_weight=0.0 if caught else 0.1,
        token_credit=None,
    )
