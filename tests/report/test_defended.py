"""Stop rates, false rejections and the cost of defences, from counts and timings."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest

from swarmproof.records.folder import Run
from swarmproof.records.summary import wilson_interval
from swarmproof.report.defended import rows, undefended
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


def test_the_cost_is_the_difference_seed_by_seed_without_evaluation(run: Run) -> None:
    cost = rows(run)[0][2][-1]
    assert cost.value == "+0.50 s, 1.24 ×"  # seeds take 2.0, 2.1, 2.2 s without, 0.5 s more with
    assert cost.detail.split("\n") == ["2.60 s, against 2.10 s in attack", "95 %: +0.50 to +0.50 s"]


def test_the_cost_of_one_seed_has_no_interval(run_of_one_seed: Run) -> None:
    assert rows(run_of_one_seed)[0][2][-1].detail.endswith("one seed: noise unknown")


def test_several_defences_of_an_arm_have_a_row_each_and_one_cost(run: Run) -> None:
    summary = deepcopy(run.summary)
    both = summary["arms"]["logit"]["by_defense"]
    both["judge"] = both["logit"]
    found = rows(replace(run, summary=summary))
    assert [defence for _, defence, _ in found] == ["logit", "judge", "any of them"]
    assert [cells[-1].value for _, _, cells in found] == ["", "", "+0.50 s, 1.24 ×"]
    whole = summary["arms"]["logit"]["refused"]["poisoned"]
    assert found[-1][2][0].value == percent(whole["rate"])


@pytest.mark.parametrize("missing", ["arm", "timings"])
def test_what_cannot_be_told_is_said(run: Run, missing: str) -> None:
    config = deepcopy(run.config)
    timings = run.timings
    if missing == "arm":
        config["arms"]["attack"]["swarm"]["nodes"] = 9
    else:
        timings = timings[timings["arm"] != "attack"]
    cost = rows(replace(run, config=config, timings=timings))[0][2][-1]
    assert cost.value == "–"
    assert cost.detail.startswith("the run has no such arm" if missing == "arm" else "no seed is")


def test_the_same_swarm_may_differ_in_what_a_refusal_does_and_in_nothing_else(run: Run) -> None:
    arms = deepcopy(run.config["arms"])
    assert undefended(arms, "logit") == "attack"
    arms["attack"]["grpo"]["on_reject"] = "zero_reward"
    assert undefended(arms, "logit") == "attack"
    arms["attack"]["grpo"]["lr"] = 1.0
    assert undefended(arms, "logit") is None
