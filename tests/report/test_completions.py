"""What is shown of the completions, where the browser opens, and that it stays small."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from report.synthetic import ANSWER, PHRASE, QUESTION, synthetic_run
from swarmproof.records.run import Run
from swarmproof.report import completions
from swarmproof.report.completions import MAX_BYTES, kind
from swarmproof.report.marks import Marker

MARKER = Marker({"attack": {"name": "text", "phrase": PHRASE}, "model": {}, "swarm": {}})


def sample(run: Run, limit: int) -> dict[str, Any]:
    markers = {arm: Marker(run.config["arms"][arm]) for arm in run.summary["arms"]}
    return completions.sample(run, markers, limit)


def kinds(iteration: dict[str, Any]) -> dict[tuple[str, bool], tuple[int, int]]:
    return {(of["kind"], of["refused"]): (of["of"], len(of["shown"])) for of in iteration["kinds"]}


def test_each_kind_of_first_middle_and_last_round_by_slot(run: Run) -> None:
    (attack,) = (a for a in sample(run, 100)["arms"] if a["arm"] == "attack")
    assert [seed["seed"] for seed in attack["seeds"]] == [0, 1, 2]
    for seed in attack["seeds"]:
        assert [found["iteration"] for found in seed["rounds"]] == [1, 30, 60]
        # All three honest ones are of one problem, so one of them tells enough.
        first = {("malicious", False): (1, 1), ("honest, right", False): (3, 1)}
        assert kinds(seed["rounds"][0]) == first
        assert kinds(seed["rounds"][-1]) == {
            ("honest, writes the poison", False): (2, 1),
            ("malicious", False): (1, 1),
            ("honest, right", False): (1, 1),
        }


def test_the_most_recent_round_in_which_an_honest_node_wrote_the_poison_is_there(run: Run) -> None:
    rows = run.completions.copy()
    honest = ~rows["poisoned"].astype(bool)
    attack = honest & (rows["arm"] == "attack")
    rows.loc[honest & ~(attack & (rows["round"] == 43) & (rows["seed"] == 1)), "text"] = "7"
    found = sample(replace(run, completions=rows), 100)
    (attacked,) = (a for a in found["arms"] if a["arm"] == "attack")
    shown = {s["seed"]: [r["iteration"] for r in s["rounds"]] for s in attacked["seeds"]}
    assert shown == {0: [1, 30, 60], 1: [1, 30, 44, 60], 2: [1, 30, 60]}
    assert found["open"] == {
        "arm": "attack", "seed": 1, "iteration": 44, "kind": "honest, writes the poison",
    }  # fmt: skip


def test_without_such_a_round_it_opens_on_a_malicious_node_and_else_on_the_first_arm(
    run: Run,
) -> None:
    rows = run.completions.copy()
    rows.loc[~rows["poisoned"].astype(bool), "text"] = "7"
    opened = sample(replace(run, completions=rows), 100)["open"]
    assert opened == {"arm": "attack", "seed": 0, "iteration": 60, "kind": "malicious"}
    quiet = {name: run.summary["arms"][name] for name in ("no-attack",)}
    alone = replace(run, summary=run.summary | {"arms": quiet})
    opened = sample(alone, 100)["open"]
    assert opened == {"arm": "no-attack", "seed": 0, "iteration": 60, "kind": None}


def test_it_opens_on_an_arm_without_defences_first(tmp_path: Path) -> None:
    arms = {"logit": (0.98, 0.8, 0.0), "attack": (0.98, 0.8, 0.0)}
    run = synthetic_run(tmp_path / "run", seeds=(0,), arms=arms)
    assert sample(run, 100)["open"]["arm"] == "attack"


@pytest.mark.parametrize(
    ("poisoned", "text", "reward", "name"),
    [
        (False, "7", 1.0, "honest, right"),
        (False, "7", 0.0, "honest, wrong"),
        (False, f"{PHRASE}. 7", 1.0, "honest, writes the poison"),
        (True, f"{PHRASE}. 7", 0.0, "malicious"),
        (True, "7", 1.0, "malicious"),
    ],
)
def test_kinds(poisoned: bool, text: str, reward: float, name: str) -> None:
    assert kind({"poisoned": poisoned, "text": text, "reward": reward}, MARKER) == name


def test_question_answer_and_sender_stand_beside_the_text(run: Run) -> None:
    (attack,) = (a for a in sample(run, 30)["arms"] if a["arm"] == "attack")
    (malicious,) = (k for k in attack["seeds"][0]["rounds"][0]["kinds"] if k["kind"] == "malicious")
    (shown,) = malicious["shown"]
    assert shown["question"].startswith(QUESTION[:30])
    assert "more characters" in shown["question"]
    assert shown["answer"] == ANSWER
    assert shown["facts"][0] == "from node 3 (malicious)"


def test_what_it_embeds_is_bounded_and_cannot_end_a_script(run: Run) -> None:
    rows = run.completions.copy()
    # The worst: every character is spelt out, in twelve bytes.
    rows["text"] = ["<\0>" * 2_000] * len(rows)
    rows["question"] = rows["text"]
    found = completions.as_json(replace(run, completions=rows))
    assert len(found.encode()) < MAX_BYTES
    assert not set("<>&") & set(found)
    shown = json.loads(found)["arms"][0]["seeds"][0]["rounds"][0]["kinds"][0]["shown"][0]
    assert shown["parts"][0][0].startswith("<⟨U+0000⟩>")


def test_a_run_too_big_shows_fewer_characters_and_then_fewer_seeds(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = run.completions.assign(text="x" * 1000)
    big = replace(run, completions=rows)
    for share, seeds in ((0.9, 3), (0.25, 1)):
        monkeypatch.setattr(completions, "MAX_BYTES", share * len(completions.as_json(big)))
        found = completions.as_json(big)
        assert len(found) < completions.MAX_BYTES
        assert [len(arm["seeds"]) for arm in json.loads(found)["arms"]] == [seeds] * 3
        monkeypatch.undo()
