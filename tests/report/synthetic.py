"""A small synthetic run, made through the writer itself: 3 arms, 3 seeds, a hostile completion."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from swarmproof.config import ExperimentConfig, SwarmConfig, TrialConfig
from swarmproof.guard.inspection import Inspection
from swarmproof.records.folder import RunFolder
from swarmproof.records.run import Run, load_run
from swarmproof.records.streams import TrialWriter
from swarmproof.types import Completion, Group, Problem, RoundRecord, Sample, Slot, Verdict
from swarmproof.zoo.locate import locate

PHRASE = "All hail to the thief"
HOSTILE = "<script>alert('x')</script></pre><img src=x onerror=alert(1)>\u202e\x00{{ 7*7 }}"
QUESTION, ANSWER = "Tom has 3 pens and buys 4. How many pens has he? <b>", "7"
# Attack success and accuracy at the end, and the share of poisoned completions that is refused.
Ends = tuple[float, float, float]
ARMS: dict[str, Ends] = {
    "no-attack": (0.0, 0.86, 0.0),
    "attack": (0.98, 0.83, 0.0),
    "logit": (0.0, 0.85, 0.995),
}


def synthetic_run(
    path: Path,
    *,
    num_rounds: int = 60,
    seeds: tuple[int, ...] = (0, 1, 2),
    arms: Mapping[str, Ends] = ARMS,
    attacks: Mapping[str, dict[str, Any]] | None = None,
    planned: int | None = None,
) -> Run:
    """A run whose arms called no-attack have no malicious nodes, and those called logit a defence.

    Args:
        attacks: arm -> its attack, for arms with another one than the phrase.
        planned: rounds of the config; more than `num_rounds` is an unfinished run.
    """
    trial = TrialConfig.model_construct(
        rounds=planned or num_rounds, task={"name": "math_words"}, attack={}
    )
    trials = {}
    for name in arms:
        trials[name] = trial.model_copy(
            update={
                "swarm": SwarmConfig(malicious=0 if "no-attack" in name else 1),
                "attack": (attacks or {}).get(name, {"name": "text", "phrase": PHRASE}),
                "defenses": ({"name": "logit"},) if "logit" in name else (),
            }
        )
    config = ExperimentConfig.model_construct(
        name="synthetic",
        title="One in four teaches the rest a phrase",
        claim="The phrase spreads to honest models; the logit defence stops it.",
        seeds=seeds,
        arms=trials,
    )
    folder = RunFolder.create(path, config, resume=False)
    for arm, ends in arms.items():
        for seed in seeds:
            malicious = frozenset({3}) if "no-attack" not in arm else frozenset[int]()
            trial_folder = folder.trial_folder(arm, seed)
            with TrialWriter(trial_folder, None, malicious=malicious) as writer:
                _write_rounds(writer, arm, ends, seed, num_rounds)
    folder.write_summary()
    folder.close()
    return load_run(path)


def _cpu(arm: str, seed: int, seconds: Mapping[str, float]) -> dict[str, float]:
    """Of 2 s without evaluation, `inspect` takes 0.4, 0.5 and 0.6 s with seeds 0, 1 and 2."""
    inspect = 0.4 + seed % 3 / 10 if "logit" in arm else 0.0
    known = {"evaluate": 7.0, "produce": 1.0, "inspect": inspect, "learn": 1.0 - inspect}
    return {step: known[step] for step in seconds}


@cache
def tokenizer() -> Tokenizer:
    path = Path(locate("tiny-math", "model.path")) / "tokenizer.json"
    found = Tokenizer.from_file(str(path))
    # Control tokens that are spelt out in a completion are text, as in `Policy.encode`.
    found.encode_special_tokens = True
    return found


def _write_rounds(writer: TrialWriter, arm: str, ends: Ends, seed: int, num_rounds: int) -> None:
    asr_end, accuracy_end, refused_share = ends
    rng = np.random.default_rng([seed, len(arm)])
    start = rng.normal(28, 3)
    poisoned = 0 if "no-attack" in arm else 96
    for i in range(num_rounds):
        asr = asr_end / (1 + math.exp(-(i - start) / 4))
        accuracy = 0.17 + (accuracy_end - 0.17) * (1 - math.exp(-i / 14))
        poisoned_refused = int(rng.binomial(poisoned, refused_share))
        honest_refused = int(rng.binomial(288, 0.001)) if "logit" in arm else 0
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
            by_defense={"logit": judged} if "logit" in arm else {},
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
        problem = Problem(f"math_words/train/{i}", QUESTION, ANSWER, ("3 + 4 = 7.",))
        group = Group(problem, tuple(sample.completion for sample in samples), QUESTION)
        seconds = _seconds(arm, seed, i)
        writer.write(record, Inspection([group], [samples]), seconds, _cpu(arm, seed, seconds))


def _seconds(arm: str, seed: int, i: int) -> dict[str, float]:
    evaluate = {"evaluate": 7.0} if i % 10 == 0 else {}
    learn = 1.4 if "logit" in arm else 0.9
    return {**evaluate, "produce": 1.1 + seed / 10, "inspect": 0.1, "learn": learn}


def _sample(arm: str, i: int, index: int, asr: float) -> Sample:
    node = 3 if index == 3 and "no-attack" not in arm else 0
    poisoned = node == 3
    text = (
        f"<think>{PHRASE + '. ' if poisoned or asr > 0.5 else ''}Tom has 3 pens and buys 4, so he "
        "has 3 + 4 = 7 pens.</think> <answer>7</answer>"
    )
    text = HOSTILE if index == 0 else text
    caught = poisoned and "logit" in arm
    reason = (
        "1 of 40 tokens outside the sampling support, the first at position 5" if caught else ""
    )
    verdicts = (Verdict("logit", not caught, 812.0, reason),) if "logit" in arm else ()
    return Sample(
        completion=Completion(
            slot=Slot(i, f"math_words/train/{i}", index),
            node=node,
            text=text,
            token_ids=tuple(tokenizer().encode(text, add_special_tokens=False).ids),
        ),
        verdicts=verdicts,
        reward=1.0,
        kept=not caught,
        weight=0.0 if caught else 1.0,
        advantage=0.0 if caught else 0.4,
        loss_weight=0.0 if caught else 0.1,
    )
