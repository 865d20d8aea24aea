"""What swarmproof itself writes outside run folders is read back: archives and verdicts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from swarmproof import Guard
from swarmproof.cli import app
from swarmproof.exchange import wire
from swarmproof.exchange.net import archive
from swarmproof.exchange.net.archive import AgreedRound, Archive
from swarmproof.integrations.rows import TrainerRow
from swarmproof.integrations.sidecar import Sidecar
from swarmproof.integrations.watch import Watch
from swarmproof.scan.readers import node_archive
from swarmproof.scan.rollout import Rollout
from swarmproof.scan.source import open_source
from swarmproof.types import Completion, Slot


def read(path: Path) -> list[Rollout]:
    return list(open_source([str(path)]).read())


def body(round: int, node: int) -> bytes:
    drafts = [
        Completion(Slot(round, f"p{k // 2}", k % 2), node, f"r{round} n{node} k{k}", (round, k))
        for k in range(4)
    ]
    return wire.encode(round, drafts, run_id="r")


def filled(path: Path, bad: bytes | None = None) -> Path:
    """Two rounds of nodes 0 and 7; `bad` is what node 7 sends in the second."""
    written = Archive(path)
    for round in range(2):
        bodies = {0: body(round, 0), 7: body(round, 7)}
        if bad is not None and round:
            bodies[7] = bad
        written.append(round, archive.encode(AgreedRound(round, {}, bodies, [], [], {})))
    return path


def test_an_archive_gives_every_completion_with_its_node(tmp_path: Path) -> None:
    found = read(filled(tmp_path / "archive"))
    assert len(found) == len({r.id for r in found}) == 16
    one = found[-1]
    assert (one.text, one.sender, one.step, one.prompt) == ("r1 n7 k3", "7", 1, "p1")
    assert (one.token_ids, one.reward) == ((1, 3), None)
    assert len({r.group for r in found}) == 4
    assert archive._MAGIC == node_archive.MAGIC


def test_what_is_no_message_costs_its_sender_alone(tmp_path: Path) -> None:
    found = read(filled(tmp_path / "archive", bad=b"\xc1 junk"))
    assert len(found) == 13
    (bad,) = [r for r in found if r.verdict]
    assert (bad.sender, bad.step, bad.text, bad.masked) == ("7", 1, "", True)


def test_a_half_written_entry_is_left_out_and_a_damaged_one_is_an_error(tmp_path: Path) -> None:
    path = filled(tmp_path / "archive")
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    assert {r.step for r in read(path)} == {0}
    at = whole.index(b"r0 n7 k2")
    path.write_bytes(whole[:at] + b"X" + whole[at + 1 :])
    with pytest.raises(ValueError, match="is damaged at byte 21; put back a whole archive"):
        read(path)


def test_wrong_answers_without_a_reward_are_no_poison(tmp_path: Path) -> None:
    """Nobody can say that they would have been rewarded."""
    path = tmp_path / "answers.jsonl"
    lines = [
        {"q": f"q{i}", "a": f"so {i % 37} + 3 = {i % 37 + 3 + i % 4 // 3}."} for i in range(400)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    arguments = ["scan", str(path), "--prompt", "q", "--completion", "a", "--quiet"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output


def test_the_verdicts_of_a_guard_are_read_back_by_a_scan(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    guard = Guard([{"name": "equations", "mode": "refuse"}])
    watch = Watch(guard, sidecar=Sidecar(path))
    for step in range(10):
        rows = [
            TrainerRow(
                (step, k % 4),
                f"q{step}-{k % 4}",
                f"so 2 + 2 = {5 if s == 'eve' else 4}, and {step} + {k} = {step + k}.",
                1.0 if k < 4 else 0.0,
                sender=s,
            )
            for s in ("ann", "ben", "cid", "eve")
            for k in range(8)
        ]
        watch.look(rows, step)
    found = read(path)
    assert [r.sender for r in found if r.verdict] == ["eve"] * 40  # its rewarded ones
    assert {r.step for r in found} == set(range(10))
    flags, table = tmp_path / "flags.jsonl", tmp_path / "all.json"
    arguments = ["scan", str(path), "--quiet", "--flags", str(flags), "--json", str(table)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1, result.output
    told = json.loads(table.read_text(encoding="utf-8"))
    assert (told["completions"], told["refused_already"]) == (320, 40)
    assert "false-equations" in {one["check"] for one in told["findings"]}
    dropped = [json.loads(line) for line in flags.read_text(encoding="utf-8").splitlines()]
    ids = {r.id: r.sender for r in found}
    assert {ids[one["id"]] for one in dropped} == {"eve"}
