"""Intervals against SciPy and hand arithmetic; every number of the summary by its definition."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from scipy import stats

from rounds import RECORD
from swarmproof.records.summary import (
    SeedResult,
    length_growth,
    metric,
    refused,
    summarise_arm,
    t_interval,
    wilson_interval,
)


def trial(seed: int, asr: list[float]) -> SeedResult:
    return SeedResult(
        seed, [replace(RECORD, round=i, asr=value) for i, value in enumerate(asr)], []
    )


@pytest.mark.parametrize(("count", "of"), [(0, 10), (1, 10), (7, 13), (10, 10), (3, 9600)])
def test_wilson_is_scipys(count: int, of: int) -> None:
    expected = stats.binomtest(count, of).proportion_ci(0.95, method="wilson")
    assert wilson_interval(count, of) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_of_no_trials_is_none_and_of_nonsense_an_error() -> None:
    assert wilson_interval(0, 0) is None
    with pytest.raises(ValueError, match="3 of 2"):
        wilson_interval(3, 2)


def test_t_interval_is_scipys_and_needs_two() -> None:
    values = [0.8, 0.9, 0.7]
    expected = stats.t.interval(0.95, 2, loc=0.8, scale=stats.sem(values))
    assert t_interval(values) == pytest.approx(expected)
    # By hand: s = 0.1, t(2) = 4.302653, half width = 4.302653 * 0.1 / sqrt(3).
    assert t_interval(values) == pytest.approx((0.8 - 0.2484138, 0.8 + 0.2484138), abs=1e-6)
    assert t_interval([0.5]) is None


def test_final_is_the_mean_of_the_last_ten_iterations_over_seeds() -> None:
    low, high = [0.0] * 5 + [0.2] * 10, [0.0] * 5 + [0.4] * 10
    asr = summarise_arm([trial(0, low), trial(1, high)], planned_rounds=15)["asr"]
    assert asr["first"] == 0.0
    assert asr["final"] == 0.3
    assert asr["by_iteration"] == [0.0] * 5 + [0.3] * 10
    assert asr["ci95_over"] == "seeds"


def test_interval_is_over_seeds_and_cut_to_a_share() -> None:
    finals = [0.97, 0.99, 1.0]
    course = metric([{0: x} for x in finals], num_iterations=1, share=True)
    low, high = stats.t.interval(0.95, 2, loc=math.fsum(finals) / 3, scale=stats.sem(finals))
    assert high > 1
    assert course["ci95"] == [pytest.approx(low, rel=1e-5), 1.0]


def test_one_seed_has_no_interval_however_many_iterations_it_has() -> None:
    course = metric([{i: i / 20 for i in range(20)}], num_iterations=20, share=True)
    assert course["final"] == 0.725
    assert course["ci95"] == [None, None]
    assert course["ci95_over"] is None


def test_no_interval_of_a_length_reaches_below_zero() -> None:
    values = [5.0, 40.0]
    low, high = t_interval(values) or (0.0, 0.0)
    assert low < 0
    course = metric([{0: x} for x in values], num_iterations=1, share=False)
    assert course["ci95"] == [0.0, pytest.approx(high, rel=1e-5)]


def test_a_single_value_has_no_interval() -> None:
    assert metric([{0: 0.5}], num_iterations=1, share=True)["ci95"] == [None, None]


def test_iterations_that_were_not_evaluated_are_null_and_count_in_no_mean() -> None:
    course = metric([{0: 0.2, 10: 0.6}], num_iterations=12, share=True)
    assert course["by_iteration"] == [0.2, *[None] * 9, 0.6, None]
    assert (course["first"], course["final"]) == (0.2, 0.6)


def test_values_that_are_not_finite_count_in_no_mean() -> None:
    course = metric([{0: math.nan, 1: 0.4}], num_iterations=2, share=True)
    assert course["by_iteration"] == [None, 0.4]
    assert course["final"] == 0.4


def test_refused_counts_each_kind_against_its_own_number() -> None:
    records = [
        replace(RECORD, round=i, poisoned=4, poisoned_refused=3, honest=12, honest_refused=1)
        for i in range(5)
    ]
    arm = summarise_arm([SeedResult(0, records, [])], planned_rounds=5)
    poisoned, honest = arm["refused"]["poisoned"], arm["refused"]["honest"]
    assert (poisoned["count"], poisoned["of"], poisoned["rate"]) == (15, 20, 0.75)
    assert (honest["count"], honest["of"], honest["rate"]) == (5, 60, pytest.approx(1 / 12, 1e-5))
    assert poisoned["ci95"] == pytest.approx(wilson_interval(15, 20), rel=1e-5)
    assert refused(0, 0) == {"count": 0, "of": 0, "rate": None, "ci95": [None, None]}


def test_defences_and_losses_are_summed_over_rounds_and_seeds() -> None:
    record = replace(
        RECORD,
        by_defense={"logit": {"refused": 3, "abstained": 1}},
        malformed=2,
        absent={"1": "late", "2": "missing"},
        by_node={"1": {"refilled": 4}, "2": {"refilled": 1}},
    )
    arm = summarise_arm([SeedResult(s, [record], []) for s in (0, 1)], planned_rounds=1)
    assert arm["by_defense"] == {"logit": {"refused": 6, "abstained": 2}}
    assert (arm["malformed"], arm["absent"], arm["refilled"]) == (4, 4, 10)


def test_seconds_are_the_mean_of_a_trial() -> None:
    def timed(seed: int, generate: float) -> SeedResult:
        rows = [{"round": i, "cohort": "honest", "seconds": {"generate": generate}} for i in (0, 1)]
        return SeedResult(seed, [RECORD], rows)

    arm = summarise_arm([timed(0, 1.0), timed(1, 2.0)], planned_rounds=1)
    assert arm["seconds"] == 3.0
    assert arm["seconds_by_step"] == {"generate": 3.0}


def test_an_unfinished_seed_counts_by_what_it_has() -> None:
    arm = summarise_arm([trial(0, [0.0, 1.0]), trial(1, [0.5])], planned_rounds=2)
    assert arm["asr"]["by_iteration"] == [0.25, 1.0]
    assert (arm["rounds"], arm["seeds"], arm["unfinished_seeds"]) == (2, [0, 1], [1])


def test_the_success_of_a_length_attack_is_the_growth_of_each_seeds_mean_length() -> None:
    def grows(seed: int, lengths: list[float]) -> SeedResult:
        rounds = [
            replace(RECORD, round=i, asr=None, length=length) for i, length in enumerate(lengths)
        ]
        return SeedResult(seed, rounds, [])

    trials = [grows(0, [20.0, 50.0]), grows(1, [40.0, 60.0])]
    asr = summarise_arm(trials, planned_rounds=2, measure="length")["asr"]
    assert asr["by_iteration"] == [1.0, 2.0]
    assert asr["unit"] == "ratio"
    assert asr["ci95"][1] > 1
    # Each cohort is compared with itself; one that wrote nothing at first has no ratio.
    rounds = [
        replace(RECORD, round=i, cohort=name, length=length)
        for i, (name, length) in enumerate([("a", 10.0), ("b", 0.0), ("a", 15.0), ("b", 5.0)])
    ]
    assert [r.asr for r in length_growth(rounds)] == [1.0, None, 1.5, None]


def test_the_wide_measure_is_there_where_an_attack_has_one() -> None:
    wide = [replace(RECORD, round=i, asr=0.1, asr_wide=value) for i, value in enumerate((0.2, 0.4))]
    arm = summarise_arm([SeedResult(0, wide, [])], planned_rounds=2)
    assert arm["asr_wide"]["by_iteration"] == [0.2, 0.4]
    assert "asr_wide" not in summarise_arm([trial(0, [0.1])], planned_rounds=1)


def test_rounds_without_a_measure_leave_a_gap() -> None:
    rounds = [replace(RECORD, round=i, asr=value) for i, value in enumerate((0.2, None, 0.4))]
    asr = summarise_arm([SeedResult(0, rounds, [])], planned_rounds=3)["asr"]
    assert (asr["by_iteration"], asr["final"]) == ([0.2, None, 0.4], 0.3)


def of_two_models(seed: int = 0) -> SeedResult:
    records = [
        replace(RECORD, cohort=name, asr=asr, reward=reward, honest_refused=refused, honest=10)
        for name, asr, reward, refused in (("a", 0.2, 1.0, 3), ("b", 0.6, 0.5, 0))
    ]
    return SeedResult(seed, records, [])


def test_the_number_of_a_swarm_is_the_mean_over_its_nodes() -> None:
    equal = summarise_arm([of_two_models()], planned_rounds=1)
    assert equal["asr"]["by_iteration"] == [0.4]
    weighed = summarise_arm([of_two_models()], planned_rounds=1, nodes={"a": 3, "b": 1})
    assert weighed["asr"]["by_iteration"] == [0.3]
    assert weighed["refused"]["honest"]["of"] == 20
    # Both models read the same ten completions: the counts are sums, the interval takes ten.
    honest = equal["refused"]["honest"]
    assert (honest["count"], honest["rate"], honest["receivers"]) == (3, 0.15, 2)
    assert honest["ci95"] == pytest.approx(wilson_interval(1.5, 10), rel=1e-5)
    # A cohort without a value has no weight either.
    first, second = of_two_models().rounds
    some = SeedResult(0, [first, replace(second, asr=None)], [])
    arm = summarise_arm([some], planned_rounds=1, nodes={"a": 1, "b": 9})
    assert arm["asr"]["by_iteration"] == [0.2]


def test_each_of_several_models_has_the_same_numbers_by_itself() -> None:
    trials = [of_two_models(0), of_two_models(1)]
    arm = summarise_arm(trials, planned_rounds=1, nodes={"a": 2, "b": 1})
    assert list(arm["models"]) == ["a", "b"]
    for name, asr, accuracy, refused_honest in (("a", 0.2, 1.0, 0.3), ("b", 0.6, 0.5, 0.0)):
        model = arm["models"][name]
        alone = [
            SeedResult(t.seed, [r for r in t.rounds if r.cohort == name], t.timings) for t in trials
        ]
        whole = summarise_arm(alone, planned_rounds=1)
        assert model == {key: whole[key] for key in model}
        assert (model["asr"]["final"], model["accuracy"]["final"]) == (asr, accuracy)
        assert model["refused"]["honest"]["rate"] == refused_honest
    assert "models" not in summarise_arm([trial(0, [0.1])], planned_rounds=1)
