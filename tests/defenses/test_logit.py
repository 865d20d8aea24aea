"""The logit check against its rule, computed token by token from plain forward passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from defenses.plain import STRATEGIES, plain_logits, supports
from swarmproof.defenses import Logit
from swarmproof.policies.policy import Policy
from swarmproof.policies.scorer import RoundScores
from swarmproof.types import Group, TokenScores, Verdict
from swarms import Letters, completion, draw_group, policy, problem, verdicts_of, view_of

TASK = Letters()
END = 256
LIMIT = 24


@pytest.fixture(params=STRATEGIES)
def receiver(request: pytest.FixtureRequest, random_model: Path) -> Policy:
    return like(random_model, **STRATEGIES[request.param])


def like(model: Path, **sampling: Any) -> Policy:
    return policy(model, max_new_tokens=LIMIT, **sampling)


def expected(receiver: Policy, of: Group, ids: tuple[int, ...]) -> tuple[list[float], bool]:
    """The shortfall of each token, and whether the rule refuses the completion."""
    scaled, kept = supports(plain_logits(receiver, TASK.prompt(of.problem), ids), receiver.sampling)
    shortfalls = []
    for t, token in enumerate(ids):
        lowest = float(scaled[t][kept[t]].min())
        shortfalls.append(max(0.0, lowest - float(scaled[t, token])))
    unfinished = ids[-1] != END and len(ids) < receiver.sampling.max_new_tokens
    return shortfalls, max(shortfalls) > Logit().tolerance or unfinished


def group(*rows: Sequence[int]) -> Group:
    of, written = problem(), [completion("", tuple(row), index=i) for i, row in enumerate(rows)]
    return Group(of, tuple(written), TASK.prompt(of))


def honest(drawer: Policy, count: int, start: int = 0) -> list[tuple[int, ...]]:
    drawn = draw_group(drawer, TASK, problem(), range(start, start + count))
    return [c.token_ids or () for c in drawn.completions]


def judge(receiver: Policy, *rows: Sequence[int], **parameters: float) -> list[Verdict]:
    return verdicts_of(Logit(**parameters), receiver, TASK, group(*rows))


def edited(rows: list[tuple[int, ...]], rng: Random) -> list[tuple[int, ...]]:
    """Honest completions with a token replaced, cut off, shuffled, doubled, or made up."""
    changed = []
    for row in rows:
        tokens = list(row)
        match rng.randrange(5):
            case 0:
                tokens[rng.randrange(len(tokens))] = rng.randrange(261)
            case 1:
                tokens = tokens[: rng.randrange(1, len(tokens) + 1)]
            case 2:
                rng.shuffle(tokens)
            case 3:
                tokens = (tokens + tokens)[:LIMIT]
            case _:
                tokens = [rng.randrange(261) for _ in range(rng.randrange(1, LIMIT))]
        changed.append(tuple(tokens))
    return changed


def test_every_verdict_is_that_of_the_rule(receiver: Policy) -> None:
    rows = honest(receiver, 24)
    rows += edited(rows, Random(0))
    of = group(*rows)
    refused = 0
    for row, verdict in zip(rows, judge(receiver, *rows), strict=True):
        shortfalls, refuse = expected(receiver, of, row)
        assert verdict.accepted is not refuse, (row, verdict, shortfalls)
        assert verdict.score == pytest.approx(max(shortfalls), rel=1e-4, abs=1e-4)
        assert bool(verdict.reason) is refuse
        refused += refuse
        if max(shortfalls) > Logit().tolerance:
            first = next(t for t, x in enumerate(shortfalls) if x > Logit().tolerance)
            assert verdict.reason.endswith(f"the first at position {first}")
    # Cuts at least are refused under every strategy.
    assert refused > 0


def test_what_the_sampler_draws_is_never_refused(receiver: Policy) -> None:
    verdicts = judge(receiver, *honest(receiver, 300, start=1000))
    assert [v.reason for v in verdicts if not v.accepted] == []


def test_a_group_of_other_lengths_and_prompts_changes_no_verdict(random_model: Path) -> None:
    receiver = like(random_model)
    first = draw_group(receiver, TASK, problem(), range(6))
    second = draw_group(receiver, TASK, problem("q", "a much longer question"), range(3))
    second = Group(second.problem, second.completions[::-1], second.prompt)
    groups = sorted(
        [first, second], key=lambda g: max(len(c.token_ids or ()) for c in g.completions)
    )
    together = Logit().inspect(groups, view_of(receiver, TASK, groups))
    assert all(v.accepted for row in together for v in row)


def test_a_smaller_k_than_that_of_the_sampler_refuses_honest_completions(
    random_model: Path,
) -> None:
    rows = honest(like(random_model, top_k=50), 64)
    strict = judge(like(random_model, top_k=25), *rows)
    assert sum(not v.accepted for v in strict) > 32
    assert all(v.accepted for v in judge(like(random_model, top_k=51), *rows))


def test_the_most_likely_token_outside_the_support_is_refused_where_it_stands(
    random_model: Path,
) -> None:
    receiver = like(random_model, top_k=50)
    rows = [row for row in honest(receiver, 80) if len(row) > 8]
    forged, places = [], []
    for i, row in enumerate(rows):
        position = i % 8
        scaled = plain_logits(receiver, group(row).prompt, row)[position]
        values, ranked = scaled.sort(descending=True)
        if values[49] - values[50] > 2 * Logit().tolerance:
            inside, outside = (*row[:position], int(ranked[49])), (*row[:position], int(ranked[50]))
            forged += [inside, outside]
            places.append(position)
    assert set(places) == set(range(8))
    verdicts = judge(receiver, *forged)
    for position, last, beyond in zip(places, verdicts[::2], verdicts[1::2], strict=True):
        assert last.score <= Logit().tolerance
        assert beyond.accepted is False
        assert beyond.reason == (
            f"1 of {position + 1} tokens outside the sampling support, "
            f"the first at position {position}"
        )


def test_what_the_model_did_not_write_is_refused(random_model: Path, other_model: Path) -> None:
    receiver, rng = like(random_model), Random(1)
    rows = [row for row in honest(receiver, 60) if len(row) > 12]
    made_up = [tuple(rng.randrange(256) for _ in range(LIMIT)) for _ in range(32)]
    shuffled = [tuple(rng.sample(row, len(row))) for row in rows]
    foreign = [row for row in honest(like(other_model), 60) if len(row) > 12]
    for wrong in (made_up, shuffled, foreign):
        assert len(wrong) > 20
        assert not any(v.accepted for v in judge(receiver, *wrong))


def test_another_temperature_shows_only_where_the_support_depends_on_it(
    random_model: Path,
) -> None:
    hot = honest(like(random_model, temperature=2.5, top_p=0.7), 32)
    refused = [not v.accepted for v in judge(like(random_model, top_p=0.7), *hot)]
    assert sum(refused) > 16
    # The k most likely tokens are the same at every temperature.
    hot = honest(like(random_model, temperature=2.5), 32)
    assert all(v.accepted for v in judge(like(random_model), *hot))


def test_a_completion_ends_with_the_end_or_at_the_limit(random_model: Path) -> None:
    receiver = like(random_model)
    full = next(row for row in honest(receiver, 60) if len(row) == LIMIT and row[-1] != END)
    ended = next(row for row in honest(receiver, 60) if row[-1] == END and len(row) > 1)
    verdicts = judge(receiver, full, full[:-1], ended, ended[:-1])
    assert [v.accepted for v in verdicts] == [True, False, True, False]
    assert {v.reason for v in verdicts[1::2]} == {"ends without end-of-text before the limit"}


def test_the_end_is_a_token_like_any_other(random_model: Path) -> None:
    receiver = like(random_model)
    rows = [row for row in honest(receiver, 60) if len(row) > 4]
    cut = [(*row[:t], END) for row in rows[:20] for t in (1, 2, 3)]
    expectations = [expected(receiver, group(row), row)[1] for row in cut]
    assert any(expectations)
    assert [v.accepted is False for v in judge(receiver, *cut)] == expectations


def test_the_tolerance_is_the_shortfall_that_passes(random_model: Path) -> None:
    receiver = like(random_model)
    row = next(row for row in honest(receiver, 9) if len(row) > 2)
    forged = ((row[0] + 91) % 256, *row[1:])
    (verdict,) = judge(receiver, forged)
    assert verdict.accepted is False
    (just,) = judge(receiver, forged, tolerance=verdict.score * 1.0001)
    (not_quite,) = judge(receiver, forged, tolerance=verdict.score * 0.9999)
    assert (just.accepted, not_quite.accepted) == (True, False)


def test_text_without_token_ids_is_checked_as_the_receiver_reads_it(random_model: Path) -> None:
    from swarmproof.exchange.admission import admit

    receiver = like(random_model)
    (poison,), _ = admit([completion("All hail to the thief")], receiver.codec, LIMIT)
    of = Group(problem(), (poison,), TASK.prompt(problem()))
    (verdict,) = verdicts_of(Logit(), receiver, TASK, of)
    assert verdict.accepted is False
    assert "outside the sampling support" in verdict.reason


def test_it_abstains_on_what_another_model_wrote_and_tells_what_it_would_do(
    random_model: Path, other_model: Path
) -> None:
    receiver = like(random_model)
    rows = honest(receiver, 8) + honest(like(other_model), 8)
    homogeneous = judge(receiver, *rows)
    assert {v.accepted for v in homogeneous} == {True, False}
    written = [completion("", row, index=i, node=i % 2) for i, row in enumerate(rows)]
    sent = Group(problem(), tuple(written), TASK.prompt(problem()))
    foreign = frozenset({1})
    abstaining = verdicts_of(Logit(), receiver, TASK, sent, foreign)
    for i, (verdict, plain) in enumerate(zip(abstaining, homogeneous, strict=True)):
        if i % 2 == 0:
            assert verdict == plain
        else:
            assert verdict.accepted is None
            assert verdict.score == plain.score
            told = "would accept" if plain.accepted else f"would refuse: {plain.reason}"
            assert verdict.reason == f"another model wrote it; {told}"
    acting = verdicts_of(Logit(heterogeneous="act"), receiver, TASK, sent, foreign)
    assert acting == homogeneous


@pytest.mark.parametrize("place", [0, 1])
def test_a_score_that_is_no_number_refuses_wherever_it_is(place: int, random_model: Path) -> None:
    """`max` passes over a NaN that is not the first."""
    shortfall = np.zeros(2, np.float32)
    shortfall[place] = np.nan
    of = group((1, END))
    view = view_of(like(random_model), TASK, [of])
    told = RoundScores([[TokenScores(np.zeros(2, np.float32), shortfall)]])
    ((verdict,),) = Logit().inspect([of], replace(view, source=told))
    assert (verdict.accepted, verdict.reason) == (False, "the model's scores are not finite")
