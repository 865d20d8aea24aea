"""BEST RESPONSE: every attack is tried, the strongest comes first, and its fields are searched."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rounds import RECORD
from swarmproof import registry, steps
from swarmproof.cli import app
from swarmproof.config import ExperimentConfig
from swarmproof.measure import best_response as search
from swarmproof.types import RoundRecord
from swarms import trial_config


def arm(asr: float | None, length: float, unit: str = "share") -> dict[str, Any]:
    """The part of a summary that is read, constant over 8 rounds."""
    counts = {"count": 0, "of": 8, "rate": 0.0, "ci95": [0.0, 0.1]}
    return {
        "asr": {"unit": unit, "by_iteration": [asr] * 8},
        "length": {"by_iteration": [length] * 8},
        "accuracy": {"by_iteration": [0.5] * 8},
        "refused": {"poisoned": counts, "honest": counts},
    }


def test_it_searches_the_fields_of_the_strongest(random_model: Path) -> None:
    stages: list[ExperimentConfig] = []

    def run(config: ExperimentConfig) -> Mapping[str, Any]:
        stages.append(config)
        arms = {name: arm(0.1, 20.0) for name in config.arms}
        arms |= {n: arm(None, 30.0, "ratio") for n in arms if n.startswith("length")}
        if "length" in arms:
            arms["length"] = arm(1.0, 38.0, "ratio")
        if "text.where-end" in arms:
            arms["text.where-end"] = arm(0.95, 20.0)
        if "length.candidates-96" in arms:
            arms["length.candidates-96"] = arm(1.0, 40.0, "ratio")
        return {"arms": arms}

    base = trial_config(random_model)
    found, excluded = search.find(base, run, name="x", seeds=[0, 1], best=2)
    first, second = stages
    assert first.seeds == (0, 1)
    assert {"no-attack", "text", "text.where-end", "length", "junk"} <= first.arms.keys()
    assert first.arms["no-attack"].swarm.malicious == 0
    # Both of the strongest, each with one field changed, and none a second time.
    assert {"text.where-start.poisoned_share-0.25"} & {*second.arms} == set()
    assert {"text.where-every_sentence", "length.candidates-96"} <= {*first.arms, *second.arms}
    assert not first.arms.keys() & second.arms.keys()
    assert [search.label(each.attack) for each in found[:3]] == [
        "length.candidates-96", "text.where-end", "length",
    ]  # fmt: skip
    assert found[0].success == pytest.approx(2.0)
    assert found[0].effect == pytest.approx(1.0)
    assert found[2].effect == pytest.approx(0.9)
    # EQUATION is for vertical swarms, and says so.
    assert "vertical" in excluded["equation"]
    assert not any(name.startswith("equation") for name in first.arms)


def test_every_registered_attack_is_tried_and_every_label_names_a_folder() -> None:
    attacks = search.tried()
    assert {str(each["name"]) for each in attacks} == {*registry.plugins("attack")}
    labels = [search.label(each) for each in attacks]
    assert len({*labels}) == len(labels)
    for each, name in zip(attacks, labels, strict=True):
        registry.check("attack", each)
        assert all(char.isalnum() or char in "_.-" for char in name)


def test_lengths_are_compared_over_the_same_nodes(
    random_model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without an attack the node 3 has the model of node 0, which counted twice there only."""
    models = [str(random_model), "tiny-math", "tiny-math-wide"]
    attacked = trial_config(random_model, swarm={"models": models}, attack={"name": "length"})
    calm = search.with_attack(attacked, attacked.attack, malicious=0)
    assert [len(each.nodes) for each in calm.cohorts] == [2, 1, 1]
    assert [len(each.nodes) for each in attacked.cohorts] == [1, 1, 1]

    def record(cohort: str, **tokens: int) -> RoundRecord:
        counts = {
            node.removeprefix("n"): {"completions": 4, "rewarded": 2, "tokens": number}
            for node, number in tokens.items()
        }
        mean = sum(tokens.values()) / (4 * len(tokens))
        return replace(RECORD, round=0, cohort=cohort, by_node=counts, length=mean)

    first, second, third = (each.name for each in calm.cohorts)
    rows = [record(first, n0=80, n3=160), record(second, n1=40), record(third, n2=40)]
    stage = ExperimentConfig(name="x", seeds=(0,), arms={search.NO_ATTACK: calm, "a": attacked})
    monkeypatch.setattr(search, "read_rounds", lambda _: rows)
    (tmp_path / "summary.json").write_text(
        json.dumps({"arms": {search.NO_ATTACK: arm(0.0, 22.5), "a": arm(1.0, 40.0 / 3, "ratio")}})
    )
    arms = search.summary_of(tmp_path, stage)["arms"]
    assert arms[search.NO_ATTACK]["length"]["by_iteration"] == [pytest.approx(40 / 3, rel=1e-5)]
    found = search.response({"name": "length"}, arms["a"], arms[search.NO_ATTACK])
    assert found.success == pytest.approx(1.0, rel=1e-5)
    # The fields are searched without that arm, and nothing is read again.
    alone = ExperimentConfig(name="y", seeds=(0,), arms={"a": attacked})
    assert search.summary_of(tmp_path, alone)["arms"]["a"] == arms["a"]


def test_the_success_is_that_of_the_last_quarter() -> None:
    told = arm(0.0, 20.0)
    told["asr"]["by_iteration"] = [0.0] * 6 + [None, 0.5]
    found = search.response({"name": "text"}, told, arm(0.0, 20.0))
    assert found.success == 0.5


def test_a_guard_that_cannot_work_stops_the_search(random_model: Path) -> None:
    base = trial_config(
        random_model,
        swarm={"models": ["tiny-math", "tiny-math-wide"]},
        task={"name": "math_words"},
        sampling={"max_new_tokens": 64},
        defenses=[{"name": "replay"}],
    )
    with pytest.raises(ValueError, match="one model in all nodes"):
        search.find(base, lambda _: pytest.fail("it ran"), name="x", seeds=[0])


def test_without_malicious_nodes_nothing_would_be_tried(random_model: Path) -> None:
    """All attacks would reach nothing, and every guard look perfect."""
    base = trial_config(random_model, swarm={"malicious": 0})
    with pytest.raises(ValueError, match="no malicious node"):
        search.find(base, lambda _: pytest.fail("it ran"), name="x", seeds=[0])


def test_the_command_runs_and_goes_on_where_it_stopped(
    tmp_path: Path, random_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "VARIANTS", ({"name": "text", "where": "end"},))
    monkeypatch.setattr(registry, "_registered", _only(registry._registered, "text", "copying"))
    toml = tmp_path / "small.toml"
    toml.write_text(
        f"""rounds = 2
task = {{ name = "letters" }}
model = {{ path = "{random_model}" }}
swarm = {{ nodes = 4, malicious = 1 }}
batch = {{ problems = 4, group_size = 4 }}
sampling = {{ max_new_tokens = 40 }}
attack = {{ name = "text" }}
[arms.attack]
""",
        encoding="utf-8",
    )
    out = tmp_path / "found"
    line = [
        "best-response", str(toml), "--rounds", "2", "--best", "1", "--out", str(out),
        "--jobs", "0", "--quiet",
    ]  # fmt: skip
    done = CliRunner().invoke(app, line, catch_exceptions=False)
    assert done.exit_code == 0
    told = json.loads((out / "best-response.json").read_text(encoding="utf-8"))
    labels = [row["label"] for row in told["responses"]]
    assert {"text", "text.where-end", "copying"} <= {*labels}
    assert len(labels) > 3
    again = CliRunner().invoke(app, [*line, "--resume"], catch_exceptions=False)
    assert again.exit_code == 0
    assert json.loads((out / "best-response.json").read_text(encoding="utf-8")) == told


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (["--set", "rounds=100"], "--set rounds is replaced by the option --rounds"),
        (
            ["--set", "guard.preset=several-models", "--guard", "one-model"],
            "--set 'guard.preset' is replaced by --guard one-model",
        ),
        (["--set", " defenses = []", "--guard", "one-model"], "--set 'defenses' is replaced"),
    ],
)
def test_what_an_option_would_replace_silently_is_refused(
    line: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "execute", lambda *_, **__: pytest.fail("it ran"))
    with pytest.raises(ValueError, match=f"^{told}.*give"):
        CliRunner().invoke(
            app, ["best-response", "text-horizontal", "--out", str(tmp_path / "x"), *line],
            catch_exceptions=False,
        )  # fmt: skip
    assert not (tmp_path / "x").exists()


def _only(registered: Mapping[Any, Mapping[str, Any]], *names: str) -> dict[Any, Any]:
    kept = {name: registered["attack"][name] for name in names}
    return {**registered, "attack": kept}
