"""What differs between two configs is named with both values, shortened."""

from __future__ import annotations

import pytest

from swarmproof.config import load
from swarmproof.config.comparing import differences, refuse_other

OLD = load("text-horizontal", arms=["attack", "logit"]).model_dump(mode="json")


def other(**changes: object) -> dict[str, object]:
    config = load("text-horizontal", arms=["attack", "logit"], overrides=changes.pop("set", ()))  # type: ignore[arg-type]
    return config.model_dump(mode="json") | changes


def test_equal_configs_do_not_differ() -> None:
    assert not list(differences(OLD, other()))
    refuse_other("runs/x", OLD, other())


@pytest.mark.parametrize(
    ("new", "words"),
    [
        (other(set=["grpo.lr=0.5"]), "runs/x was made with arms.attack.grpo.lr = 0.0003, now 0.5;"),
        (other(seeds=[1]), "runs/x was made with seeds = [0], now [1];"),
        (other(set=["swarm.models=['a', 'b']"]), "swarm.models = nothing, now ['a', 'b'];"),
        (other(arms={}), "runs/x has the arms attack, logit, and this run has none;"),
        (other(claim="x" * 500), "now 'xxx"),
        (other(name="renamed"), "by the experiment 'text-horizontal', and this one is called 'ren"),
    ],
)
def test_the_first_difference_is_told_with_both_values(new: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=r"--out") as caught:
        refuse_other("runs/x", OLD, new)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()


def test_a_simulated_run_may_go_on_for_longer() -> None:
    refuse_other("runs/x", OLD, other(set=["rounds=1000"]))
    with pytest.raises(ValueError, match=r"arms\.attack\.rounds = 80, now 79"):
        refuse_other("runs/x", OLD, other(set=["rounds=79"]))
    with pytest.raises(ValueError, match=r"arms\.attack\.grpo\.lr"):
        refuse_other("runs/x", OLD, other(set=["rounds=1000", "grpo.lr=0.5"]))
    # Real nodes know a run by its id, and the rounds are a part of it.
    net = ["exchange.name=folder", "exchange.path=shared"]
    with pytest.raises(ValueError, match=r"arms\.attack\.rounds = 80, now 1000"):
        refuse_other("runs/x", other(set=net), other(set=[*net, "rounds=1000"]))
    # So do the parts of a swarm of several models.
    models = ["swarm.models=['tiny-math', 'tiny-math-wide']"]
    with pytest.raises(ValueError, match=r"arms\.attack\.rounds = 80, now 1000"):
        refuse_other("runs/x", other(set=models), other(set=[*models, "rounds=1000"]))


def test_the_names_of_hostile_arms_stay_on_one_line() -> None:
    with pytest.raises(ValueError, match=r"has the arms") as caught:
        refuse_other("runs/x", OLD | {"arms": {"\x1b[2J\n": {}, "a.b": {}}}, OLD)
    assert str(caught.value).isprintable()
    assert "and this run has attack, logit;" in str(caught.value)


@pytest.mark.parametrize("damaged", [{}, {"arms": 3}, {"arms": {"attack": 3, "logit": None}}])
def test_a_damaged_config_is_another_one(damaged: dict[str, object]) -> None:
    old = {key: value for key, value in OLD.items() if key != "arms"} | damaged
    with pytest.raises(ValueError, match=r"runs/x was made with arms"):
        refuse_other("runs/x", old, other(set=["rounds=1000"]))
