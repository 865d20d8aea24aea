"""Rates of refusal and the cost of defences, from counts and processor times."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

from swarmproof.records.run import Run
from swarmproof.records.summary import t_interval, wilson_interval
from swarmproof.report.defended import rows
from swarmproof.report.table import percent


def test_counts_intervals_and_abstentions_are_those_of_the_summary(run: Run) -> None:
    ((arm, defence, (poisoned, honest, _)),) = rows(run)
    assert (arm, defence) == ("logit", "logit")
    counts = run.summary["arms"]["logit"]["by_defense"]["logit"]
    for cell, who in ((poisoned, "poisoned"), (honest, "honest")):
        refused, of = counts[f"{who}_refused"], counts[who]
        interval = wilson_interval(refused, of)
        assert interval is not None
        assert cell.value == percent(refused / of)
        told, ends, *abstained = cell.detail.split("\n")
        assert told == f"{refused:,} of {of:,}"
        assert ends == f"95 %: {percent(interval[0])} to {percent(interval[1])}"
        if who == "honest":
            judged = percent(refused / (of - 1800))
            assert abstained == ["abstained from 1,800", f"of the others: {judged}"]
        else:
            assert abstained == []


def test_masked_tokens_are_told(run: Run) -> None:
    summary = deepcopy(dict(run.summary))
    summary["arms"]["logit"]["by_defense"]["logit"]["poisoned_masked_tokens"] = 1234
    ((_, _, (poisoned, honest, _)),) = rows(replace(run, summary=summary))
    assert poisoned.detail.endswith("\n1,234 tokens masked")
    assert "masked" not in honest.detail


def test_the_cost_is_the_share_of_processor_time_seed_by_seed_without_evaluation(run: Run) -> None:
    cost = rows(run)[0][2][-1]
    # Of 2 s without evaluation, 0.4, 0.5 and 0.6 s with the three seeds.
    interval = t_interval([0.2, 0.25, 0.3])
    assert interval is not None
    assert cost.value == percent(0.25)
    low, high = (percent(end) for end in interval)
    assert cost.detail.split("\n") == ["0.5 s an iteration", f"95 %: {low} to {high}"]


def test_the_wall_time_of_a_busy_machine_is_no_cost(run: Run) -> None:
    slow = run.timings.assign(seconds=100 * run.timings["seconds"])
    assert rows(replace(run, timings=slow)) == rows(run)


def test_an_interval_of_the_cost_stays_in_the_shares(run: Run) -> None:
    timings = run.timings.copy()
    inspect = (timings["arm"] == "logit") & (timings["step"] == "inspect")
    timings.loc[inspect, "cpu_seconds"] = timings["seed"].map({0: 0.0, 1: 50.0, 2: 0.0})
    cost = rows(replace(run, timings=timings))[0][2][-1]
    assert cost.detail.endswith(f"95 %: {percent(0)} to {percent(1)}")


def test_the_cost_of_one_seed_has_no_interval(run_of_one_seed: Run) -> None:
    cost = rows(run_of_one_seed)[0][2][-1]
    assert cost.detail == "0.5 s an iteration\none seed: no interval"


def test_several_defences_of_an_arm_have_a_row_each_and_one_cost(run: Run) -> None:
    summary = deepcopy(run.summary)
    both = summary["arms"]["logit"]["by_defense"]
    both["judge"] = both["logit"]
    found = rows(replace(run, summary=summary))
    assert [defence for _, defence, _ in found] == ["logit", "judge", "any of them"]
    assert [cells[-1].value for _, _, cells in found] == ["", "", percent(0.25)]
    whole = summary["arms"]["logit"]["refused"]["poisoned"]
    assert found[-1][2][0].value == percent(whole["rate"])


def test_without_processor_times_no_cost_is_told(run: Run) -> None:
    timings = run.timings.assign(cpu_seconds=float("nan"))
    cost = rows(replace(run, timings=timings))[0][2][-1]
    assert (cost.value, cost.detail) == ("–", "no processor time recorded")
