"""Replay against brute force: the noise of every token of the vocabulary, by plain passes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import accumulate
from math import comb
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch

from defenses.plain import STRATEGIES, plain_logits, supports
from swarmproof.config import SamplingConfig
from swarmproof.defenses import DefenseView, Replay
from swarmproof.defenses.base import Setting, State
from swarmproof.guard.guard import Guard
from swarmproof.policies.policy import Policy
from swarmproof.policies.sampler import draw
from swarmproof.policies.scorer import RoundScores
from swarmproof.randomness import gumbel
from swarmproof.types import Completion, Group, Slot, Tokens, TokenScores, Verdict
from swarms import Letters, draw_group, policy, problem, verdicts_of

TASK = Letters()
END = 256
LIMIT = 24


@pytest.fixture(params=STRATEGIES)
def receiver(request: pytest.FixtureRequest, random_model: Path) -> Policy:
    return like(random_model, **STRATEGIES[request.param])


def like(model: Path, **sampling: Any) -> Policy:
    return policy(model, **{"max_new_tokens": LIMIT, **sampling})


def honest(drawer: Policy, count: int = 24) -> Group:
    return draw_group(drawer, TASK, problem(), range(1000, 1000 + count))


def with_tokens(group: Group, rows: Sequence[Tokens]) -> Group:
    pairs = zip(group.completions, rows, strict=True)
    return replace(group, completions=tuple(replace(c, token_ids=row) for c, row in pairs))


def judge(receiver: Policy, group: Group, **parameters: float) -> list[Verdict]:
    """Verdicts that know the seeds of the slots, as a swarm's receivers do."""
    passes = receiver.scorer.passes([group.prompt], [group.token_ids], [False], [group.slot_seeds])
    ((_, forward),) = passes
    view = DefenseView(
        rewards=[[0.0] * len(group.completions)],
        seed=0,
        sampling=receiver.sampling,
        source=forward,
        codec=receiver.codec,
    )
    (verdicts,) = Replay(**parameters).inspect([group], view)
    return verdicts


def margins(receiver: Policy, group: Group, row: Tokens, seed: int) -> list[float]:
    """The margin of each token by the rule, in plain steps over the whole vocabulary."""
    scaled, kept = supports(plain_logits(receiver, group.prompt, row), receiver.sampling)
    every = torch.arange(scaled.shape[-1])[None]
    found = []
    for t, token in enumerate(row):
        sums = scaled[t] + gumbel(torch.tensor([seed]), t, every)[0]
        inside = kept[t]
        below = max(0.0, float(scaled[t][inside].min() - scaled[t, token]))
        outside = scaled[t][~inside]
        edge = float(outside.max()) if len(outside) else float("-inf")
        # What an error of the logits must do to each rival: lower its sum, or put it outside.
        lost = [
            min(float(sums[j] - sums[token]), float(scaled[t, j]) - edge)
            for j in inside.nonzero().flatten().tolist()
            if j != token
        ]
        found.append(max(*lost, below, 0.0))
    return found


def edited(row: Tokens, rng: Random) -> Tokens:
    at = rng.randrange(len(row))
    other = rng.choice([token for token in range(256) if token != row[at]])
    return (*row[:at], other, *row[at + 1 :])


def test_every_honest_draw_is_accepted(receiver: Policy) -> None:
    verdicts = judge(receiver, honest(receiver, 64))
    assert [v.accepted for v in verdicts] == [True] * 64
    assert {v.score for v in verdicts} == {0.0}


def test_every_score_is_that_of_the_rule(receiver: Policy) -> None:
    rng = Random(0)
    group = honest(receiver, 12)
    group = with_tokens(group, [edited(row, rng) for row in group.token_ids])
    seeds = group.slot_seeds or ()
    for verdict, row, seed in zip(judge(receiver, group), group.token_ids, seeds, strict=True):
        assert verdict.score == pytest.approx(max(margins(receiver, group, row, seed)), abs=1e-3)


def test_one_edited_token_is_enough(random_model: Path) -> None:
    receiver, rng = like(random_model), Random(1)
    group = honest(receiver, 64)
    verdicts = judge(receiver, with_tokens(group, [edited(r, rng) for r in group.token_ids]))
    assert [v.accepted for v in verdicts] == [False] * 64
    for verdict in verdicts:
        assert verdict.score > 1e-3
        assert "not the draw of their slot, the first at position" in verdict.reason


def test_where_the_edit_is_told(random_model: Path) -> None:
    receiver = like(random_model)
    group = honest(receiver, 1)
    (row,) = group.token_ids
    other = (row[5] + 1) % 256
    (verdict,) = judge(receiver, with_tokens(group, [(*row[:5], other, *row[6:])]))
    assert verdict.reason.endswith("the first at position 5")


def test_draws_of_other_seeds_temperatures_and_weights_are_refused(
    random_model: Path, other_model: Path
) -> None:
    receiver = like(random_model)
    group = honest(receiver, 64)
    others = {
        "seed": draw_group(receiver, TASK, problem(), range(64)).token_ids,
        "temperature": honest(like(random_model, temperature=0.7), 64).token_ids,
        "weights": honest(like(other_model), 64).token_ids,
        # A node that sends the draw of another slot: what it copied is of another address.
        "slot": [*group.token_ids[1:], group.token_ids[0]],
    }
    for rows in others.values():
        verdicts = judge(receiver, with_tokens(group, rows))
        same = [a == b for a, b in zip(rows, group.token_ids, strict=True)]
        # Of so many tokens one may lose its draw by less than the tolerance.
        near = [0 < v.score <= 1e-3 for v in verdicts]
        assert sum(near) <= 1
        assert [v.accepted for v in verdicts] == [a or b for a, b in zip(same, near, strict=True)]
        assert sum(same) < 32


def test_an_end_that_is_early_late_or_passed_over_is_refused(random_model: Path) -> None:
    receiver = like(random_model, max_new_tokens=200)
    group = honest(receiver, 64)
    ended = [row for row in group.token_ids if row[-1] == END and len(row) > 8]
    assert len(ended) > 8
    places = [group.token_ids.index(row) for row in ended]
    some = replace(
        group,
        completions=tuple(group.completions[i] for i in places),
        slot_seeds=tuple((group.slot_seeds or ())[i] for i in places),
    )

    def refused(rows: Sequence[Tokens]) -> list[str]:
        verdicts = judge(receiver, with_tokens(some, rows))
        assert [v.accepted for v in verdicts] == [False] * len(ended)
        return [v.reason for v in verdicts]

    refused([(*row[:-4], END) for row in ended])
    for reason in refused([row[:-1] for row in ended]):
        assert reason == "ends without end-of-text before the limit"
    refused([(*row[:-1], 65, END) for row in ended])
    longer = [(*row, *drawn_on(receiver, some, i)) for i, row in enumerate(ended)]
    for reason in refused(longer):
        assert "goes on after the end-of-text" in reason


def drawn_on(receiver: Policy, group: Group, i: int) -> Tokens:
    """The forced draw behind the end of a completion: nothing but its place is wrong with it."""
    row, seed = group.token_ids[i], (group.slot_seeds or ())[i]
    logits = plain_logits(receiver, group.prompt, (*row, 0))[-1:]
    return (int(draw(logits, torch.tensor([seed]), len(row), receiver.sampling)),)


def test_the_limit_may_cut_a_completion(random_model: Path) -> None:
    receiver = like(random_model, max_new_tokens=3)
    group = honest(receiver, 16)
    assert any(row[-1] != END for row in group.token_ids)
    assert all(v.accepted for v in judge(receiver, group))


def test_a_near_tie_passes_up_to_the_tolerance_and_no_further(random_model: Path) -> None:
    receiver = like(random_model)
    group = honest(receiver, 1)
    (row,) = group.token_ids
    (seed,) = group.slot_seeds or ()
    rivals = []
    for other in range(256):
        if other == row[-1] or other == row[0]:
            continue
        rivals.append((margins(receiver, group, (other, *row[1:]), seed)[0], other))
    margin, token = min(rivals)
    # One token alone, so that what follows it cannot count.
    single = like(random_model, max_new_tokens=1)
    changed = with_tokens(group, [(token,)])
    assert judge(single, changed, tolerance=margin + 1e-4)[0].accepted is True
    assert judge(single, changed, tolerance=margin - 1e-4)[0].accepted is False


def test_many_near_ties_are_refused_though_each_is_within_the_tolerance(random_model: Path) -> None:
    receiver = like(random_model)
    group = honest(receiver, 1)
    for wrong, accepted in ((0, True), (2, True), (3, False)):
        margin = np.zeros(len(group.token_ids[0]), np.float32)
        margin[:wrong] = 0.1
        source = RoundScores([[TokenScores(margin, margin)]], {"margin": [[margin]]})
        view = DefenseView(
            rewards=[[0.0]], seed=0, sampling=receiver.sampling, source=source, codec=receiver.codec
        )
        ((verdict,),) = Replay(tolerance=0.25).inspect([group], view)
        assert verdict.accepted is accepted
        assert verdict.score == margin.max()


@pytest.mark.parametrize("refilled", [False, True])
@pytest.mark.parametrize("tolerance", [1e-3, 0.25])
def test_a_near_tie_is_redrawn_and_accuses_nobody(
    random_model: Path, tolerance: float, refilled: bool
) -> None:
    codec = like(random_model).codec
    margins = [np.array(row, np.float32) for row in ([0.0, 0.0], [0.0, tolerance / 2], [0.0, 1.0])]
    source = RoundScores([[TokenScores(m, m) for m in margins]], {"margin": [margins]})
    sampling = SamplingConfig(max_new_tokens=2)
    view = DefenseView(rewards=[[0.0] * 3], seed=0, sampling=sampling, source=source, codec=codec)
    completions = tuple(
        Completion(Slot(0, "p", i), 0, "x", (7, 7), refilled=refilled) for i in range(3)
    )
    defense = Replay(tolerance=tolerance, near_ties="redraw", on_reject="refill")
    (row,) = defense.inspect([Group(problem(), completions, "")], view)
    assert [(v.accepted, v.redraw) for v in row] == [
        (True, False),
        (True, False) if refilled else (None, True),
        (False, False),
    ]


@pytest.mark.parametrize("rule", [None, "drop", "void_node"])
def test_redrawing_needs_the_rule_refill(rule: Any) -> None:
    with pytest.raises(ValueError, match="needs on_reject = 'refill' in the same table"):
        Replay(near_ties="redraw", on_reject=rule)


@pytest.mark.parametrize("tokens", [3, 40, 300])
@pytest.mark.parametrize("flips", [0.002, 0.02, 0.9])
def test_as_many_near_ties_pass_as_chance_explains(
    random_model: Path, tokens: int, flips: float
) -> None:
    codec = like(random_model).codec
    each = [
        comb(tokens, k) * Fraction(flips) ** k * (1 - Fraction(flips)) ** (tokens - k)
        for k in range(tokens + 1)
    ]
    chance = [float(total) for total in accumulate(reversed(each))][::-1]  # of so many or more
    for lost in range(tokens + 1):
        for tolerance, most in ((0.25, max(2, lost if chance[lost] >= 1e-3 else 0)), (0.01, 2)):
            margin = np.array([0.9 * tolerance] * lost + [0.0] * (tokens - lost), np.float32)
            source = RoundScores([[TokenScores(margin, margin)]], {"margin": [[margin]]})
            view = DefenseView(
                rewards=[[0.0]], seed=0, sampling=SamplingConfig(max_new_tokens=tokens),
                source=source, codec=codec,
            )  # fmt: skip
            group = Group(problem(), (Completion(Slot(0, "p", 0), 0, "x", (7,) * tokens),), "")
            ((verdict,),) = Replay(tolerance=tolerance, flips=flips).inspect([group], view)
            assert verdict.accepted is (lost <= most)


def test_claimed_seeds_and_missing_ones_prove_nothing(random_model: Path) -> None:
    receiver = like(random_model)
    group = honest(receiver, 4)
    with pytest.raises(ValueError, match="needs the seed of its slot; give slot_seeds"):
        judge(receiver, replace(group, slot_seeds=None))
    (verdict, *_) = verdicts_of_nan(receiver, group)
    assert verdict.accepted is False


def verdicts_of_nan(receiver: Policy, group: Group) -> list[Verdict]:
    bad = [np.full(len(row), np.nan, np.float32) for row in group.token_ids]
    source = RoundScores([[TokenScores(row, row) for row in bad]], {"margin": [bad]})
    view = DefenseView(rewards=[[0.0] * 4], seed=0, source=source, codec=receiver.codec)
    (verdicts,) = Replay().inspect([group], view)
    return verdicts


def test_given_scores_without_margins_are_refused(random_model: Path) -> None:
    receiver = like(random_model)
    group = honest(receiver, 1)
    scores = receiver.scorer.score([group.prompt], [group.token_ids]).scores

    class Given:
        def __init__(self) -> None:
            self.scores = scores

    view = DefenseView(rewards=[[0.0]], seed=0, source=Given(), codec=receiver.codec)
    with pytest.raises(ValueError, match="have no column 'margin'; give the guard a model"):
        Replay().inspect([group], view)


def test_what_another_model_wrote_is_never_proved(random_model: Path) -> None:
    receiver = like(random_model)
    group = honest(receiver, 2)
    told = [replace(c, node=node) for node, c in enumerate(group.completions)]
    group = replace(group, completions=tuple[Completion, ...](told))
    passes = receiver.scorer.passes([group.prompt], [group.token_ids], [False], [group.slot_seeds])
    ((_, forward),) = passes
    view = DefenseView(
        rewards=[[0.0] * 2], seed=0, sampling=receiver.sampling, source=forward,
        codec=receiver.codec, foreign=frozenset({1}),
    )  # fmt: skip
    (verdicts,) = Replay().inspect([group], view)
    assert [v.accepted for v in verdicts] == [True, False]


@pytest.mark.parametrize("programs", [False, True])
def test_several_models_are_refused_before_the_run(programs: bool) -> None:
    fits = "several-models-code" if programs else "several-models"
    with pytest.raises(ValueError, match=f'use guard.preset = "{fits}"'):
        Replay().require_in(Setting(nodes=4, models=3, programs=programs))
    Replay().require_in(Setting(nodes=4, models=1))


def test_it_is_a_defence_of_scores_without_seeds_of_a_peer(random_model: Path) -> None:
    """The helper of the other defences' tests gives no seeds, as a foreign trainer would not."""
    receiver = like(random_model)
    with pytest.raises(ValueError, match="slot_seeds"):
        verdicts_of(Replay(), receiver, TASK, honest(receiver, 2))


def told(
    model: Path,
    rows: Mapping[int, Sequence[int]],
    defense: Replay,
    state: State,
    drawn: frozenset[int] = frozenset(),
) -> tuple[list[Verdict], DefenseView, list[Group]]:
    """Verdicts on completions of 40 tokens. `rows`: node -> tokens of each that are near ties."""
    sent = [(node, lost) for node, each in rows.items() for lost in each]
    completions = tuple(
        Completion(Slot(0, "p", i), node, "x", (7,) * 39 + (END,), refilled=node in drawn)
        for i, (node, _) in enumerate(sent)
    )
    margins = [np.array([0.1] * lost + [0.0] * (40 - lost), np.float32) for _, lost in sent]
    source = RoundScores([[TokenScores(m, m) for m in margins]], {"margin": [margins]})
    view = DefenseView(
        rewards=[[0.0] * len(sent)], seed=0, source=source, state=state, codec=like(model).codec
    )
    groups = [Group(problem(), completions, "")]
    (verdicts,) = defense.inspect(groups, view)
    return verdicts, view, groups


def after(
    model: Path, rows: Mapping[int, Sequence[int]], rounds: int, **kept: Any
) -> list[Verdict]:
    """The verdicts of the last of several equal rounds."""
    defense, state = Replay(tolerance=0.25), dict[str, Any]()
    for _ in range(rounds):
        verdicts, view, groups = told(model, rows, defense, state, **kept)
        state = json.loads(json.dumps(defense.remember(groups, view)))
    assert len(state["rounds"]) <= 5
    return verdicts


HONEST = [1, 1, *[0] * 22]  # 2 of 960 tokens: 0.2 %


def test_a_sender_with_too_many_near_ties_is_refused_where_it_has_them(
    random_model: Path,
) -> None:
    rows = {0: HONEST, 3: [1] * 20 + [0] * 4}
    verdicts = after(random_model, rows, 1)
    assert [v.accepted for v in verdicts] == [True] * 24 + [False] * 20 + [True] * 4
    assert verdicts[24].reason.startswith("20 of its sender's 960 tokens lose their draw by a")
    # With an exact tolerance nothing is counted: there a near tie is no longer one.
    exact = told(random_model, rows, Replay(tolerance=0.01), {})[0]
    assert "tokens are not the draw" in exact[24].reason
    assert Replay(tolerance=0.01).remember([], DefenseView(rewards=[], seed=0)) == {}


def test_near_ties_are_counted_over_rounds_and_honest_ones_never_suffice(
    random_model: Path,
) -> None:
    rows = {0: HONEST, 3: [1] * 8 + [0] * 16}
    assert all(v.accepted for v in after(random_model, rows, 1))
    assert [v.accepted for v in after(random_model, rows, 4)[24:]] == [False] * 8 + [True] * 16
    assert all(v.accepted for v in after(random_model, rows, 40)[:24])


def test_what_a_receiver_drew_itself_does_not_count_against_a_sender(
    random_model: Path,
) -> None:
    rows = {3: [1] * 8 + [0] * 16}
    assert all(v.accepted for v in after(random_model, rows, 12, drawn=frozenset({3})))


@pytest.mark.parametrize("padding", [0, 400])
def test_tokens_behind_the_end_hide_no_near_ties(random_model: Path, padding: int) -> None:
    """They are refused, and a receiver may draw the slot itself: they would cost nothing."""
    rows = [((7,) * 39 + (END,), 1)] * 20 + [((7,) * 39 + (END,) + (7,) * padding, 0)] * 4
    completions = [Completion(Slot(0, "p", i), 3, "x", row) for i, (row, _) in enumerate(rows)]
    margins = [np.array([0.1] * k + [0.0] * (len(row) - k), np.float32) for row, k in rows]
    source = RoundScores([[TokenScores(m, m) for m in margins]], {"margin": [margins]})
    view = DefenseView(rewards=[[0.0] * 24], seed=0, source=source, codec=like(random_model).codec)
    defense, groups = Replay(tolerance=0.25), [Group(problem(), tuple(completions), "")]
    (verdicts,) = defense.inspect(groups, view)
    assert [v.accepted for v in verdicts] == [False] * 20 + [padding == 0] * 4
    assert defense.remember(groups, view) == {"rounds": [{"3": [20, 24 * 40]}]}


@pytest.mark.parametrize("tolerance", [1e-3, 0.25])
def test_a_guard_remembers_near_ties_from_its_own_passes(
    random_model: Path, tolerance: float
) -> None:
    receiver = like(random_model)
    group = honest(receiver, 8)
    guard = Guard([Replay(tolerance=tolerance)], model=receiver, sampling=receiver.sampling)
    guard([group], [[0.0] * 8])
    tokens = sum(map(len, group.token_ids))
    wanted = {"replay": {"rounds": [{"0": [0, tokens]}]}} if tolerance > 0.01 else {}
    assert guard.state_dict()["defenses"] == wanted
