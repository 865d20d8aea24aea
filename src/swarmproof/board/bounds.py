"""What an entry may make this machine compute. It counts tokens, and knows no file.

The settings are read from the plug-ins as they were built, which may have taken "8" for 8.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from swarmproof import registry
from swarmproof.attacks import Attack
from swarmproof.config import TrialConfig
from swarmproof.defenses import Defense
from swarmproof.defenses.judge import Judge
from swarmproof.defenses.self_judge import SelfJudge
from swarmproof.defenses.token_credit import TokenCredit

_MAX_ROUNDS, _MAX_NODES = 1000, 64
_MAX_ROUND_TOKENS = 2**18  # of all completions of a round, which are in memory together
_MAX_TOKENS = 2**26  # of all that an arm writes, and judges read, with one seed
_MAX_DRAWN_TOKENS = 2**21  # of what an attack samples in a round, some of them side by side
_MAX_READ_TOKENS = 2**15  # of what a judge reads at once


def require(arm: str, trial: TrialConfig) -> None:
    """Raise ValueError if running a trial would take more than an entry may."""
    batch, longest = trial.batch, trial.sampling.max_new_tokens
    attack = registry.build(Attack, trial.attack)
    defenses = [registry.build(Defense, table) for table in trial.defenses]
    at_once, read = _read_by_judges(trial, attack, defenses)
    a_round = batch.problems * batch.group_size * longest
    drawn = _drawn(trial, attack) * longest
    heldout = trial.evaluation.problems / trial.evaluation.every * longest
    # A judge writes about every completion; beams are written side by side.
    criticisms = (
        batch.problems
        * batch.group_size
        * sum(
            judge.max_criticism_tokens * getattr(judge.model, "beams", 1)
            for judge in defenses
            if isinstance(judge, Judge) and judge.criticism
        )
    )
    # `token_credit` reads a row for each span of each completion that is better than its group:
    # about half of them, and half of the longest on average.
    spans = [defense.span for defense in defenses if isinstance(defense, TokenCredit)]
    credited = sum(a_round * longest / (4 * span) for span in spans)
    written = drawn + heldout + criticisms + read
    whole = trial.rounds * (a_round * trial.grpo.updates + written + credited)
    for what, found, most in (
        ("rounds", trial.rounds, _MAX_ROUNDS),
        ("swarm.nodes", trial.swarm.nodes, _MAX_NODES),
        ("the tokens of a round", a_round, _MAX_ROUND_TOKENS),
        ("the tokens that an attack samples in a round", drawn, _MAX_DRAWN_TOKENS),
        ("the tokens that a judge reads at once", at_once, _MAX_READ_TOKENS),
        ("all tokens of the arm", whole, _MAX_TOKENS),
    ):
        if found > most:
            raise ValueError(f"{arm}: {what}: {found:,.0f}; an entry has at most {most:,}")


def _drawn(trial: TrialConfig, attack: Attack) -> int:
    """The most completions that an attack samples in a round, if anybody is malicious."""
    swarm, problems, slots = trial.swarm, trial.batch.problems, trial.batch.group_size
    if swarm.topology == "horizontal":
        slots = -(-slots * swarm.malicious // swarm.nodes)
    else:
        problems = -(-problems * swarm.malicious // swarm.nodes)
    return problems * attack.most_draws(swarm.topology, slots) if swarm.malicious else 0


def _read_by_judges(trial: TrialConfig, attack: Attack, defenses: list[Defense]) -> tuple[int, int]:
    """Tokens of completions that a judge reads at once, and those that all read in a round.

    A group judge shows others before the completion that it decides about.
    """
    batch, longest = trial.batch, trial.sampling.max_new_tokens
    rows = batch.problems * batch.group_size
    judges = [defense for defense in defenses if isinstance(defense, Judge | SelfJudge)]
    beside = [min(getattr(judge, "shown", 0), batch.group_size) for judge in judges]
    read = sum((1 + shown) * rows * longest for shown in beside)
    # The copy of a judge that an attacker asks about variants of its completions.
    asked = tables({"attack": attack.model_dump()})
    variants = [table["best_of"] for _, table in asked if "best_of" in table]
    read += sum(count * rows * longest for count in variants if count > 1)
    return (1 + max(beside, default=0)) * longest, read


def tables(value: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every table in a value, with the key that it stands under."""
    waiting: list[tuple[str, object]] = [("", value)]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, Mapping):
            yield key, value
            waiting += value.items()
        elif isinstance(value, list | tuple):
            waiting += [(key, item) for item in value]
