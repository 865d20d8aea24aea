"""Streams of nodes, put together: the bytes of one process that played all cohorts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rounds import RECORD
from swarmproof.guard.inspection import Inspection
from swarmproof.records import merging
from swarmproof.records.streams import COMPLETIONS, ROUNDS, STREAMS, TrialWriter
from swarmproof.types import Completion, Group, Problem, Sample, Slot

NOTHING = Inspection([], [])


def found_by(cohort: str, round: int) -> Inspection:
    problem = Problem("p", "q", "a", ())
    completion = Completion(Slot(round, "p", 0), 0, f"of {cohort}", (1, 2))
    sample = Sample(completion, (), 1.0, True, 1.0, 0.5, 1.0)
    return Inspection([Group(problem, (completion,), "q", (1,))], [[sample]])


def written(folder: Path, cohorts: tuple[str, ...], rounds: int = 3) -> Path:
    with TrialWriter(folder, None, malicious=(), by_cohort=True) as writer:
        for round in range(rounds):
            for cohort in cohorts:
                record = replace(RECORD, round=round, cohort=cohort)
                writer.write(record, found_by(cohort, round), {"a": 1.0}, {"a": 0.5})
    return folder


def test_cohorts_alternate_as_in_one_process(tmp_path: Path) -> None:
    together = written(tmp_path / "together", ("x", "y"))
    parts = [written(tmp_path / name, (name,)) for name in ("x", "y")]
    merging.merge(parts, tmp_path / "merged")
    for name in STREAMS:
        assert (tmp_path / "merged" / name).read_bytes() == (together / name).read_bytes()


def test_a_round_that_one_node_has_not_written_yet_is_left_out(tmp_path: Path) -> None:
    parts = [written(tmp_path / "x", ("x",), 3), written(tmp_path / "y", ("y",), 2)]
    merging.merge(parts, tmp_path / "merged")
    expected = written(tmp_path / "expected", ("x", "y"), 2)
    assert (tmp_path / "merged" / ROUNDS).read_bytes() == (expected / ROUNDS).read_bytes()


def test_nodes_may_have_other_words_for_an_absence_but_not_other_absences(tmp_path: Path) -> None:
    folders = [written(tmp_path / name, ("x",)) for name in "abcd"]
    told = ('{"1":"late"}', '{"1":"missing"}', '{"2":"late"}', "{}")
    for folder, absent in zip(folders, told, strict=True):
        text = (folder / ROUNDS).read_text()
        assert text.count('"absent":{}') == 3
        (folder / ROUNDS).write_text(text.replace('"absent":{}', f'"absent":{absent}', 1))
    assert merging.differing(folders) == folders[2:]


def test_records_that_differ_are_found_and_timings_may_differ(tmp_path: Path) -> None:
    a, b, c, d = (written(tmp_path / name, ("x",)) for name in "abcd")
    (b / "timings.jsonl").write_bytes(b"")
    assert merging.differing([a, b, c, d]) == []
    text = (c / ROUNDS).read_text()
    (c / ROUNDS).write_text(text.replace('"reward":0.5', '"reward":0.25', 1))
    whole = (d / COMPLETIONS).read_bytes()
    (d / COMPLETIONS).write_bytes(whole[:-3])
    assert merging.differing([a, b, c, d]) == [c, d]
