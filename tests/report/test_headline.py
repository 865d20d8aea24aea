"""The sentences of a run: each names its arm, and compares only what may be compared."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest

from report.synthetic import synthetic_run
from swarmproof.records.run import Run
from swarmproof.report import contents
from swarmproof.report.headline import headline
from swarmproof.report.pairs import quiet, undefended
from swarmproof.report.states import of_arms
from swarmproof.report.table import percent

ARMS = {
    "no-attack": (0.0, 0.8, 0.0),
    "length-no-attack": (0.0, 0.8, 0.0),
    "attack": (0.9, 0.8, 0.0),
    "length-attack": (0.5, 0.8, 0.0),
    "logit": (0.0, 0.8, 0.99),
    "length-logit": (0.1, 0.8, 0.5),
}


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Run:
    attacks = {name: {"name": "length"} for name in ARMS if name.startswith("length")}
    path = tmp_path_factory.mktemp("matrix") / "run"
    return synthetic_run(path, num_rounds=40, arms=ARMS, attacks=attacks)


def test_every_arm_is_told_with_its_attack_defences_and_numbers(run: Run) -> None:
    told = contents.of_run(run).headline
    arms = run.summary["arms"]
    assert list(told) == ["no-attack", "attack", "logit"]
    asr = {name: percent(arm["asr"]["final"]) for name, arm in arms.items()}
    accuracy = {
        name: f"Accuracy goes from {percent(arm['accuracy']['first'])} to "
        f"{percent(arm['accuracy']['final'])}."
        for name, arm in arms.items()
    }
    assert told["no-attack"] == (
        f"No malicious nodes, no defence. The measure of the text attack ends at "
        f"{asr['no-attack']}. {accuracy['no-attack']}"
    )
    assert told["attack"] == (
        f"The text attack by 1 of 4 nodes, no defence. Attack success ends at {asr['attack']}, "
        f"against {asr['no-attack']} without malicious nodes (no-attack). {accuracy['attack']}"
    )
    poisoned, honest = (
        percent(arms["logit"]["refused"][kind]["rate"]) for kind in ("poisoned", "honest")
    )
    assert told["logit"] == (
        f"The text attack by 1 of 4 nodes, defended by logit. Attack success ends at "
        f"{asr['logit']}, against {asr['attack']} without defences (attack) and "
        f"{asr['no-attack']} without malicious nodes (no-attack). Refused: {poisoned} of the "
        f"completions of malicious nodes and {honest} of the completions of honest nodes. "
        f"{accuracy['logit']}"
    )


def test_each_attack_is_compared_with_its_own_arms(matrix: Run) -> None:
    told = contents.of_run(matrix).headline
    assert "the mean length ends at" in told["length-logit"].lower()
    assert "(length-attack) and" in told["length-logit"]
    assert "without malicious nodes (length-no-attack)" in told["length-logit"]
    assert "without defences (attack) and" in told["logit"]
    assert "without malicious nodes (no-attack)" in told["logit"]
    assert "length attack by 1 of 4 nodes" in told["length-attack"]


def test_settings_of_defences_are_told_and_those_of_attacks_where_they_differ(run: Run) -> None:
    config = deepcopy(run.config)
    config["arms"]["logit"]["defenses"] = [{"name": "logit", "heterogeneous": "act", "top_p": 0.5}]
    told = headline(run.summary, config, of_arms(run))
    assert "nodes, defended by logit (heterogeneous = act, top_p = 0.5)." in told["logit"]
    assert "The text attack by" in told["attack"]
    config["arms"]["attack"]["attack"] |= {"where": "end"}
    told = headline(run.summary, config, of_arms(run))
    assert "The text attack (phrase = All hail to the thief, where = end) by" in told["attack"]
    assert "The text attack (phrase = All hail to the thief) by" in told["logit"]


def test_nodes_that_lie_to_their_peers_are_named(run: Run) -> None:
    config = deepcopy(run.config)
    config["arms"]["logit"]["exchange"] = {"name": "net", "liars": [[2, "late"], [0, "flood"]]}
    told = headline(run.summary, config, of_arms(run))
    assert " These nodes lie to their peers: node 0 (flood), node 2 (late). " in told["logit"]
    assert "lie to" not in told["attack"]


def test_a_single_arm_is_compared_with_nothing(run: Run) -> None:
    summary = run.summary | {"arms": {"logit": run.summary["arms"]["logit"]}}
    config = run.config | {"arms": {"logit": run.config["arms"]["logit"]}}
    (told,) = headline(summary, config, {"logit": ""}).values()
    assert told.startswith("The text attack by 1 of 4 nodes, defended by logit. Attack success")
    assert "against" not in told


def test_an_unfinished_arm_ends_nowhere_and_is_compared_with_nothing(tmp_path: Path) -> None:
    run = synthetic_run(tmp_path / "run", num_rounds=5, planned=80, seeds=(0,))
    for told in headline(run.summary, run.config, of_arms(run)).values():
        assert "; unfinished, iteration 5 of 80." in told
        assert "ends at" not in told
        assert "goes from" not in told
        assert "against" not in told


def test_neither_is_an_unfinished_arm_compared_with_a_finished_one_nor_the_other_way(
    run: Run,
) -> None:
    states = of_arms(run) | {"attack": "unfinished, iteration 5 of 60"}
    assert "against" not in headline(run.summary, run.config, states)["attack"]
    told = headline(run.summary, run.config, states)["logit"]
    assert "without defences" not in told
    assert "without malicious nodes (no-attack)" in told


def test_what_was_not_measured_is_not_told(run: Run) -> None:
    arms = deepcopy(run.summary["arms"])
    arms["attack"]["asr"]["final"] = None
    arms["logit"]["refused"]["poisoned"] |= {"of": 0, "rate": None}
    told = headline(run.summary | {"arms": arms}, run.config, of_arms(run))
    assert "The text measure applied to no completion." in told["attack"]
    assert "without defences" not in told["logit"]
    assert "of the completions of malicious nodes" not in told["logit"]
    assert "–" not in " ".join(told.values())


def test_the_same_swarm_may_differ_in_what_a_refusal_does_and_in_nothing_else(run: Run) -> None:
    arms = deepcopy(run.config["arms"])
    assert undefended(arms, "logit") == "attack"
    assert quiet(arms, "logit") == quiet(arms, "attack") == "no-attack"
    arms["attack"]["grpo"]["on_reject"] = "zero_reward"
    assert undefended(arms, "logit") == "attack"
    arms["attack"]["grpo"]["lr"] = 1.0
    assert undefended(arms, "logit") is None
    assert quiet(arms, "attack") is None
    arms["no-attack"]["defenses"] = [{"name": "logit"}]
    assert quiet(arms, "logit") is None
