"""The sidecar: one line for each completion, whatever is in it and whoever else writes."""

from __future__ import annotations

import json
import math
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from judging import Bad, Breaks
from swarmproof import Guard
from swarmproof.integrations.ledger import Ledger
from swarmproof.integrations.rows import TrainerRow
from swarmproof.integrations.sidecar import Sidecar
from swarmproof.integrations.watch import Treatment, Watch

ROWS = [
    TrainerRow("g", "p", "fine", 1.0, sender="ann"),
    TrainerRow("g", "p", "BAD", 2.0, sender="eve"),
    TrainerRow("h", "q", "none", None, sender=3),
    TrainerRow("h", "q", "", 0.5, malformed="too-long: 9"),
]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def test_a_line_says_everything_about_a_completion(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    Watch(Guard([Bad()]), sidecar=Sidecar(path)).look(ROWS, 7)
    fine, bad, none, malformed = lines(path)
    assert list(fine) == [
        "id", "step", "group", "sender", "prompt", "completion", "reward",
        "guard/refused", "guard/defence", "guard/score", "guard/reason", "guard/reward",
    ]  # fmt: skip
    assert (fine["step"], fine["sender"], fine["prompt"], fine["completion"]) == (
        7, "ann", "p", "fine",
    )  # fmt: skip
    assert [line["guard/refused"] for line in lines(path)] == [False, True, False, True]
    assert bad["guard/defence"] == "bad"
    assert bad["guard/score"] == bad["guard/reward"] == bad["reward"] == 2.0
    assert malformed["guard/defence"] == "admission"
    assert malformed["guard/reason"] == "too-long: 9"
    assert fine["group"] == bad["group"] != none["group"]
    assert none["reward"] is None


def test_ids_are_unique_over_batches_runs_and_pickles(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    first = Sidecar(path)
    for sidecar in (first, Sidecar(path), pickle.loads(pickle.dumps(first))):
        watch = Watch(Guard([Bad()]), sidecar=sidecar)
        watch.look(ROWS, 0)
        watch.look(ROWS, 0)
    ids = [line["id"] for line in lines(path)]
    assert len(ids) == len(set(ids)) == 24
    assert len({line["group"] for line in lines(path)}) == 12


@pytest.mark.parametrize(
    "text", ["\ud800", "a\nb\r\u2028\x00", "\U0001f600", '"}{"', "\u202e"], ids=ascii
)
def test_hostile_text_stays_one_line_of_valid_utf8(tmp_path: Path, text: str) -> None:
    path = tmp_path / "verdicts.jsonl"
    row = TrainerRow("g", text, text, math.nan, sender=text)
    Watch(Guard([Bad()]), sidecar=Sidecar(path)).look([row])
    (line,) = lines(path)
    assert path.read_bytes().decode().count("\n") == 1
    assert line["completion"] == text.replace("\ud800", "\\ud800")
    assert line["reward"] is None


def test_an_incomplete_last_line_is_cut_and_the_rest_stays(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    watch = Watch(Guard([Bad()]), sidecar=Sidecar(path))
    watch.look(ROWS, 0)
    before = path.read_bytes()
    path.write_bytes(before + b'{"id": "' + b"x" * 200_000)
    watch.look(ROWS, 1)
    assert path.read_bytes().startswith(before)
    assert len(lines(path)) == 8


def test_writers_at_the_same_time_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    long = [TrainerRow("g", "p", "y" * 30_000, 1.0) for _ in range(3)]

    def write(_: int) -> None:
        Watch(Guard([Bad()]), sidecar=Sidecar(path)).look(long)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(24)))
    assert len(lines(path)) == 72


def test_a_wrong_path_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Sidecar(tmp_path / "nowhere" / "verdicts.jsonl")


def test_the_treatments_of_a_look() -> None:
    seen = Watch(Guard([Bad()])).look(ROWS)
    out = Treatment(votes=False, trains=False)
    assert [o.votes for o in seen.treatments] == [True, False, False, False]
    assert seen.treatments[2] == seen.treatments[3] == out
    assert seen.refused_share == 0.5
    zero = Watch(Guard([Bad()], on_reject="zero_reward")).look(ROWS)
    assert zero.treatments[1] == Treatment(zeroed=True)
    mask = Watch(Guard([Bad()], on_reject="mask")).look(ROWS)
    assert mask.treatments[1] == Treatment(trains=False)
    monitor = Watch(Guard([Bad()], on_reject="monitor")).look(ROWS)
    assert monitor.treatments[1] == Treatment()
    assert monitor.columns[1]["guard/refused"] is True


def test_rounds_only_grow() -> None:
    class Rounds(Bad):
        def inspect(self, groups: Any, view: Any) -> Any:
            rounds.append(view.round)
            return super().inspect(groups, view)

    rounds: list[int] = []
    watch = Watch(Guard([Rounds()]))
    for step in (0, 0, 5, 5, None, 2):
        watch.look(ROWS, step)
    assert rounds == [0, 1, 5, 6, 7, 8]


def test_the_state_of_a_watch_survives_json() -> None:
    watch = Watch(Guard(preset="several-models"), ledger=Ledger())
    for step in range(3):
        watch.look([TrainerRow("g", "p", f"so {s}{step}", s, sender=s) for s in range(3)], step)
    state = json.loads(json.dumps(watch.state_dict()))
    other = Watch(Guard(preset="several-models"), ledger=Ledger())
    other.load_state_dict(state)
    assert other.state_dict() == watch.state_dict()
    assert state["round"] == 3
    assert state["guard"]["defenses"]["novelty"]
    with pytest.raises(ValueError, match="`round` and a table `guard`"):
        other.load_state_dict({})


def test_monitor_is_the_only_other_way_and_malformed_rows_stay_out() -> None:
    with pytest.raises(ValueError, match="it is 'stop' or 'monitor'"):
        Watch(Guard([]), on_error="ignore")  # type: ignore[arg-type]
    with pytest.raises(ZeroDivisionError):
        Watch(Guard([Breaks()])).look(ROWS)
    seen = Watch(Guard([Breaks()]), on_error="monitor").look(ROWS)
    assert seen.failed
    assert [o.votes for o in seen.treatments] == [True, True, True, False]
