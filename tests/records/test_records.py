"""The run folder: nothing is lost or doubled by a kill, and mistakes are told in one line."""

from __future__ import annotations

import gzip
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import swarmproof
from rounds import RECORD
from swarmproof.config import ExperimentConfig, GrpoConfig, TrialConfig, load
from swarmproof.guard.inspection import Inspection
from swarmproof.records import versions as versions_of
from swarmproof.records.folder import RunFolder
from swarmproof.records.run import load_run
from swarmproof.records.streams import (
    STREAMS,
    TrialWriter,
    read_completions,
    read_rounds,
    read_timings,
)
from swarmproof.types import Completion, Group, Problem, Sample, Slot, Verdict

SECONDS = {"generate": 1.5, "learn": 0.5}
CPU = {"generate": 1.25, "learn": 0.25}
PROBLEM = Problem("p/1", "What is 3 + 4?", "7", ("3 + 4 = 7.",))


def config(
    *, lr: float = 1e-3, arms: tuple[str, ...] = ("attack",), rounds: int = 6
) -> ExperimentConfig:
    trial = TrialConfig.model_construct(
        rounds=rounds, task={"name": "math_words"}, attack={"name": "text"}, grpo=GrpoConfig(lr=lr)
    )
    return ExperimentConfig.model_construct(name="tiny", arms=dict.fromkeys(arms, trial))


def sample(
    number: int, index: int, *, text: str = "<answer>7</answer>", score: float = 1.0
) -> Sample:
    return Sample(
        completion=Completion(Slot(number, "p/1", index), index, text, (1, 2, 3)),
        verdicts=(Verdict("logit", index != 3, score, "" if index != 3 else "rank 99"),),
        reward=1.0,
        kept=index != 3,
        weight=1.0 if index != 3 else 0.0,
        advantage=0.25,
        loss_weight=0.1,
        token_credit=None,
    )


def found(samples: list[Sample]) -> Inspection:
    group = Group(PROBLEM, tuple(s.completion for s in samples), "What is 3 + 4?:")
    return Inspection([group], [samples])


def write(writer: TrialWriter, numbers: range) -> dict[str, int]:
    for number in numbers:
        record = replace(RECORD, round=number, asr=number / 10)
        writer.write(record, found([sample(number, index) for index in range(4)]), SECONDS, CPU)
    return writer.flush()


def open_writer(folder: Path, offsets: dict[str, int] | None = None) -> TrialWriter:
    return TrialWriter(folder, offsets, malicious=frozenset({3}))


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in STREAMS}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[RunFolder]:
    made = RunFolder.create(tmp_path / "run", config(), resume=False)
    yield made
    made.close()


# Streams


def test_every_completion_is_written_once_with_its_verdicts(tmp_path: Path) -> None:
    with open_writer(tmp_path) as writer:
        write(writer, range(3))
    lines = gzip.decompress((tmp_path / "completions.jsonl.gz").read_bytes()).splitlines()
    _, *rows = [json.loads(line) for line in lines]
    assert [(row["round"], row["index"]) for row in rows] == [
        (r, i) for r in range(3) for i in range(4)
    ]
    assert rows[3] == {
        "round": 0,
        "problem_id": "p/1",
        "index": 3,
        "node": 3,
        "poisoned": True,
        "question": "What is 3 + 4?",
        "answer": "7",
        "text": "<answer>7</answer>",
        "token_ids": [1, 2, 3],
        "tokens": 3,
        "reward": 1.0,
        "kept": False,
        "weight": 0.0,
        "advantage": 0.25,
        "refused": True,
        "verdicts": [{"defense": "logit", "accepted": False, "score": 1.0, "reason": "rank 99"}],
    }
    assert [row["poisoned"] for row in rows[:4]] == [False, False, False, True]


def test_pandas_reads_the_streams_as_they_are(tmp_path: Path) -> None:
    with open_writer(tmp_path) as writer:
        write(writer, range(3))
    # The first row is that of the schema.
    assert len(pd.read_json(tmp_path / "completions.jsonl.gz", lines=True)[1:]) == 12
    assert list(pd.read_json(tmp_path / "rounds.jsonl", lines=True)["asr"][1:]) == [0.0, 0.1, 0.2]


def test_the_first_line_of_every_stream_is_its_schema(tmp_path: Path) -> None:
    with open_writer(tmp_path) as writer:
        assert all(unpacked(tmp_path / name) == [{"schema": 2}] for name in STREAMS)
        offsets = write(writer, range(1))
    with open_writer(tmp_path, offsets) as writer:  # resumed: not a second time
        write(writer, range(1, 2))
    for name in STREAMS:
        rows = unpacked(tmp_path / name)
        assert [i for i, row in enumerate(rows) if "schema" in row] == [0]
    assert list(read_rounds(tmp_path)) != []


@pytest.mark.parametrize("header", [{"schema": 1}, {"schema": 3}, {"schema": "2"}, None], ids=str)
@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_of_another_schema_is_refused_in_one_line_that_names_it(
    tmp_path: Path, name: str, header: dict[str, object] | None
) -> None:
    with open_writer(tmp_path) as writer:
        write(writer, range(2))
    rows = unpacked(tmp_path / name)[1:]  # as of a version without a schema
    rows = rows if header is None else [header, *rows]
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (tmp_path / name).write_bytes(gzip.compress(lines) if name.endswith(".gz") else lines)
    told = rf"{name} is {'without a' if header is None else 'of'} schema.* reads schema 2;"
    with pytest.raises(ValueError, match=told) as caught:
        (list(read_rounds(tmp_path)), read_timings(tmp_path), list(read_completions(tmp_path)))
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def unpacked(path: Path) -> list[dict[str, object]]:
    data = path.read_bytes()
    data = gzip.decompress(data) if path.name.endswith(".gz") else data
    return [json.loads(line) for line in data.splitlines()]


def test_what_was_malformed_who_was_absent_and_the_counts_of_nodes_come_back(
    tmp_path: Path,
) -> None:
    keys = ("node", "problem_id", "index", "layer", "code", "reason")
    refusals = [
        dict(zip(keys, row, strict=True))
        for row in (
            (3, "nan", 2, "admission", "unknown-token", "inf"),
            ("eve", None, None, "wire", "wrong-run", "of the run 'x', not 'y'"),
        )
    ]
    counts = {"completions": 4, "rewarded": 1, "refused": 2, "tokens": 40, "malformed": 1}
    record = replace(
        RECORD, by_node={"0": counts, "eve": counts}, absent={"2": "late"}, refusals=refusals,
        malformed=2,
    )  # fmt: skip
    with open_writer(tmp_path) as writer:
        writer.write(record, found([sample(0, 0)]), SECONDS, CPU)
    assert read_rounds(tmp_path) == [record]


def test_seconds_and_processor_seconds_of_every_step_come_back(tmp_path: Path) -> None:
    with open_writer(tmp_path) as writer:
        write(writer, range(2))
    assert read_timings(tmp_path) == [
        {"round": i, "cohort": "honest", "seconds": SECONDS, "cpu": CPU} for i in range(2)
    ]


def test_how_much_a_completion_counted_comes_back(tmp_path: Path) -> None:
    verdict = Verdict("d", True, 0.5, "", weight=0.25, token_credit=(1.0, 0.0, -1.0))
    weighed = replace(sample(0, 1), weight=0.25, verdicts=(verdict,))
    with open_writer(tmp_path) as writer:
        writer.write(RECORD, found([weighed, sample(0, 2)]), SECONDS, CPU)
    first, second = read_completions(tmp_path)
    assert (first["weight"], second["weight"]) == (0.25, 1.0)
    (told,) = first["verdicts"]
    assert (told["weight"], told["token_credit"]) == (0.25, [1.0, 0.0, -1.0])
    assert not {"weight", "token_credit"} & set(second["verdicts"][0])


@pytest.mark.parametrize("checkpoint", [0, 1, 3])
def test_a_resumed_trial_gives_the_same_bytes(tmp_path: Path, checkpoint: int) -> None:
    with open_writer(tmp_path / "whole") as writer:
        write(writer, range(6))
    with open_writer(tmp_path / "killed") as writer:
        offsets = write(writer, range(checkpoint))
        write(writer, range(checkpoint, 4))
    for name in STREAMS:
        with (tmp_path / "killed" / name).open("ab") as file:
            file.write(b'{"round":4,"asr"')
    with open_writer(tmp_path / "killed", offsets) as writer:
        write(writer, range(checkpoint, 6))
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_starting_from_nothing_cuts_off_what_was_there(tmp_path: Path) -> None:
    for _ in range(2):
        with open_writer(tmp_path) as writer:
            write(writer, range(2))
    assert len(read_rounds(tmp_path)) == 2


def test_a_stream_shorter_than_its_checkpoint_is_an_error_and_left_alone(tmp_path: Path) -> None:
    with open_writer(tmp_path) as writer:
        offsets = write(writer, range(2))
    (tmp_path / "rounds.jsonl").write_bytes(b"")
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=r"rounds\.jsonl is shorter than the checkpoint expects"):
        open_writer(tmp_path, offsets)
    assert contents(tmp_path) == before


def test_every_torn_tail_is_ignored(tmp_path: Path) -> None:
    with open_writer(tmp_path) as writer:
        offsets = write(writer, range(1))
        write(writer, range(1, 2))
    whole = contents(tmp_path)
    for length in range(offsets["rounds.jsonl"], len(whole["rounds.jsonl"])):
        (tmp_path / "rounds.jsonl").write_bytes(whole["rounds.jsonl"][:length])
        assert [record.round for record in read_rounds(tmp_path)] == [0]
    gz = "completions.jsonl.gz"
    for length in range(offsets[gz], len(whole[gz])):
        (tmp_path / gz).write_bytes(whole[gz][:length])
        assert [row["round"] for row in read_completions(tmp_path)] == [0] * 4
    (tmp_path / gz).write_bytes(whole[gz] + b"\0" * 512)
    assert len(list(read_completions(tmp_path))) == 8


def test_damage_before_the_tail_is_told(tmp_path: Path) -> None:
    with open_writer(tmp_path) as writer:
        write(writer, range(2))
    (tmp_path / "rounds.jsonl").write_bytes(b"{torn\n" + contents(tmp_path)["rounds.jsonl"])
    with pytest.raises(ValueError, match=r"rounds\.jsonl is damaged"):
        read_rounds(tmp_path)
    (tmp_path / "completions.jsonl.gz").write_bytes(b"not gzip at all")
    with pytest.raises(ValueError, match="is damaged"):
        list(read_completions(tmp_path))


DAMAGE: dict[str, tuple[bytes, str]] = {
    "torn": (b"{torn", "malformed"),
    "list": (b"[1, 2]", "Expected `object`, got `array`"),
    "number": (b"7", "Expected `object`, got `int`"),
    "null": (b"null", "Expected `object`, got `null`"),
    "empty": (b"", "truncated"),
    "deep": (b"[" * 100_000, "recursion"),
    "deep with words": (b'{"a":"nan","b":' + b"[" * 900 + b"]" * 900 + b"}", "recursion|round"),
    "long integer": (b'{"round":' + b"9" * 5000 + b"}", "out of range"),
    "long number": (b'{"round":1e999}', "out of range"),
    "no UTF-8": (b'{"text":"\xff"}', "utf-8"),
    "half a pair": (rb'{"text":"\ud800"}', "truncated"),
    "missing": (b'{"round":1}', "missing required field"),
}

READERS: dict[str, Callable[[Path], object]] = {
    "rounds.jsonl": read_rounds,
    "timings.jsonl": read_timings,
    "completions.jsonl.gz": lambda folder: list(read_completions(folder)),
}


def refused_line(folder: Path, name: str, number: int, line: bytes) -> str:
    """How a stream of two rounds is refused whose line of that number is another one."""
    with open_writer(folder) as writer:
        write(writer, range(2))
    data = (folder / name).read_bytes()
    lines = (gzip.decompress(data) if name.endswith(".gz") else data).split(b"\n")
    lines[number - 1] = line
    data = b"\n".join(lines)
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    with pytest.raises(ValueError, match="is damaged") as caught:
        READERS[name](folder)
    told = str(caught.value)
    assert f"{folder / name} is damaged in line {number}: " in told
    assert "delete" in told
    assert "\n" not in told
    assert len(told) < 500
    return told


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_line_that_is_no_row_is_told_with_file_and_number(
    tmp_path: Path, damage: str, name: str
) -> None:
    line, words = DAMAGE[damage]
    assert re.search(words, refused_line(tmp_path, name, 3, line))


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("rounds.jsonl", "round", "one"),
        ("rounds.jsonl", "round", 10**30),
        ("rounds.jsonl", "round", -1),
        ("rounds.jsonl", "reward", [0.5]),
        ("rounds.jsonl", "reward", None),
        ("rounds.jsonl", "honest", 1.5),
        ("rounds.jsonl", "by_defense", {"logit": {"poisoned": 10**30}}),
        ("rounds.jsonl", "by_node", {"0": 3}),
        ("rounds.jsonl", "refusals", [7]),
        ("timings.jsonl", "round", 10**30),
        ("timings.jsonl", "seconds", 3.0),
        ("timings.jsonl", "cpu", {"learn": "long"}),
        ("completions.jsonl.gz", "round", 10**30),
        ("completions.jsonl.gz", "token_ids", [1, -2]),
        ("completions.jsonl.gz", "token_ids", [1, 10**30]),
        ("completions.jsonl.gz", "text", 7),
        ("completions.jsonl.gz", "reward", "much"),
        ("completions.jsonl.gz", "verdicts", [{"defense": "logit"}]),
    ],
)
def test_a_field_of_another_type_is_told_with_file_and_number(
    tmp_path: Path, name: str, key: str, value: object
) -> None:
    with open_writer(tmp_path / "whole") as writer:
        write(writer, range(2))
    row = unpacked(tmp_path / "whole" / name)[2] | {key: value}
    told = refused_line(tmp_path / "bad", name, 3, json.dumps(row).encode())
    assert f"$.{key}" in told


def test_the_number_of_a_bad_line_counts_all_rounds_of_the_completions(tmp_path: Path) -> None:
    with open_writer(tmp_path) as writer:
        write(writer, range(2))
    path = tmp_path / "completions.jsonl.gz"
    path.write_bytes(path.read_bytes() + gzip.compress(b"[]\n"))
    with pytest.raises(ValueError, match=r"is damaged in line 10: Expected `object`"):
        list(read_completions(tmp_path))


@pytest.mark.parametrize("name", STREAMS)
def test_a_checkpoint_in_the_middle_of_a_round_is_refused(tmp_path: Path, name: str) -> None:
    with open_writer(tmp_path) as writer:
        offsets = write(writer, range(2))
    before = contents(tmp_path)
    for offset in (0, -1, 3, offsets[name] - 1):
        with pytest.raises(ValueError, match=rf"{name} has no end of a round at byte {offset}, "):
            open_writer(tmp_path, offsets | {name: offset})
    assert contents(tmp_path) == before
    open_writer(tmp_path, offsets).close()


def test_a_deep_config_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"config\.json is damaged: maximum recursion") as caught:
        load_run(tmp_path)
    assert "\n" not in str(caught.value)


def test_any_text_and_any_score_survive(tmp_path: Path) -> None:
    texts = ["nan", "a\nb\r\u2028\0", "emoji \U0001f9ea", "lone \ud800", '"}{']
    scores = [math.inf, -math.inf, math.nan, 1e-300, 3.0]
    samples = [
        sample(0, i, text=t, score=s) for i, (t, s) in enumerate(zip(texts, scores, strict=True))
    ]
    with open_writer(tmp_path) as writer:
        record = replace(RECORD, loss=math.nan, grad_norm=math.inf)
        writer.write(record, found(samples), SECONDS, CPU)
    rows = list(read_completions(tmp_path))
    assert [row["text"] for row in rows] == [*texts[:3], "lone \\ud800", texts[4]]
    read = [row["verdicts"][0]["score"] for row in rows]
    assert read[:2] == scores[:2]
    assert math.isnan(read[2])
    assert read[3:] == scores[3:]
    (record,) = read_rounds(tmp_path)
    assert math.isnan(record.loss)
    assert record.grad_norm == math.inf


def test_a_full_disk_names_the_file() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    code = (
        "import pathlib, tempfile\n"
        "from swarmproof.records.streams import TrialWriter\n"
        "folder = pathlib.Path(tempfile.mkdtemp())\n"
        "writer = TrialWriter(folder, None, malicious=frozenset())\n"
        "writer._files['rounds.jsonl'] = open('/dev/full', 'ab', buffering=0)\n"
        "try:\n    writer._append('rounds.jsonl', b'x')\n"
        "except OSError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "No space left on device: '/dev/full'" in done.stdout


# The folder


def test_the_commit_of_the_source_is_read_without_a_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was killed in `git describe --dirty` left a lock: no commit was possible."""

    def git(*arguments: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        return subprocess.check_output(["git", "-C", tmp_path, *who, *arguments], text=True).strip()

    source = tmp_path / "versions.py"
    monkeypatch.setattr(versions_of, "__file__", str(source))
    source.write_text("a")
    git("init", "-q")
    assert versions_of.versions()["commit"] is None  # not tracked
    git("add", ".")
    git("commit", "-qm", "a")
    (tmp_path / "untracked").touch()
    assert versions_of.versions()["commit"] == git("rev-parse", "HEAD")
    os.utime(source, (1, 1))  # now git would write the index anew
    index = tmp_path / ".git/index"
    before = index.read_bytes()
    assert versions_of.versions()["commit"] == git("rev-parse", "HEAD")
    assert index.read_bytes() == before
    source.write_text("b")
    assert versions_of.versions()["commit"] == f"{git('rev-parse', 'HEAD')}-dirty"
    git("add", ".")
    assert str(versions_of.versions()["commit"]).endswith("-dirty")


def test_create_writes_config_and_versions_without_host_or_path(folder: RunFolder) -> None:
    written = json.loads((folder.path / "config.json").read_text())
    assert written == folder.config.model_dump(mode="json")
    versions = json.loads((folder.path / "versions.json").read_text())
    assert set(versions) == {
        *("swarmproof", "torch", "transformers", "tokenizers", "numpy"),
        *("python", "system", "processor", "commit"),
    }
    assert os.uname().nodename not in json.dumps(versions)


def test_a_folder_in_use_is_refused(folder: RunFolder) -> None:
    code = (
        "import sys, pathlib; from swarmproof.records.folder import lock\n"
        "try:\n    lock(pathlib.Path(sys.argv[1]))\n"
        "except ValueError as error:\n    print(error)\n"
    )
    command = [sys.executable, "-c", code, str(folder.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "is in use by another process" in done.stdout
    folder.close()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == ""


def test_a_second_run_needs_resume(folder: RunFolder) -> None:
    with pytest.raises(ValueError, match="in use"):
        RunFolder.create(folder.path, config(), resume=True)
    folder.close()
    with pytest.raises(ValueError, match="--resume"):
        RunFolder.create(folder.path, config(), resume=False)
    RunFolder.create(folder.path, config(), resume=True).close()


def test_resume_names_the_first_setting_that_differs(folder: RunFolder) -> None:
    folder.close()
    with pytest.raises(ValueError, match=r"made with arms\.attack\.grpo\.lr = 0\.001, now"):
        RunFolder.create(folder.path, config(lr=2e-3), resume=True)
    with pytest.raises(ValueError, match=r"has the arms attack, and this run has attack, logit"):
        RunFolder.create(folder.path, config(arms=("attack", "logit")), resume=True)
    # A refusal does not keep the lock.
    RunFolder.create(folder.path, config(), resume=True).close()


def test_resume_may_ask_for_more_rounds_and_not_for_fewer(folder: RunFolder) -> None:
    folder.close()
    rounds = folder.config.arms["attack"].rounds
    with pytest.raises(ValueError, match=r"made with arms\.attack\.rounds = 6, now 5"):
        RunFolder.create(folder.path, config(rounds=rounds - 1), resume=True)
    with pytest.raises(ValueError, match=r"made with arms\.attack\.grpo\.lr = 0\.001, now"):
        RunFolder.create(folder.path, config(rounds=rounds + 2, lr=2e-3), resume=True)
    assert RunFolder.open(folder.path).config == folder.config
    RunFolder.create(folder.path, config(rounds=rounds + 2), resume=True).close()
    assert RunFolder.open(folder.path).config.arms["attack"].rounds == rounds + 2


def test_resume_without_a_run_simply_starts(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "new" / "run", config(), resume=True).close()
    assert (tmp_path / "new" / "run" / "config.json").exists()


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    for resume in (False, True):
        with pytest.raises(ValueError, match="not empty and not a run folder"):
            RunFolder.create(tmp_path, config(), resume=resume)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_the_way_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(ValueError, match=r"cannot write to .*choose another"):
            RunFolder.create(path, config(), resume=False)


def test_an_arm_cannot_leave_the_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot name a folder"):
        RunFolder.create(tmp_path / "run", config(arms=("../out",)), resume=False)


def test_open_reads_a_run_back_while_it_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"not a run folder: it has no config\.json"):
        RunFolder.open(tmp_path)
    folder = RunFolder.create(tmp_path / "run", load("text-horizontal"), resume=False)
    assert RunFolder.open(folder.path).config == folder.config
    folder.close()


# Summary and frames


def test_summary_has_the_promised_shape(folder: RunFolder) -> None:
    with open_writer(folder.trial_folder("attack", 0)) as writer:
        write(writer, range(6))
    summary = folder.write_summary()
    assert json.loads((folder.path / "summary.json").read_text()) == summary
    assert summary["experiment"] == "tiny"
    arm = summary["arms"]["attack"]
    for name in ("asr", "accuracy", "length"):
        assert {"first", "final", "by_iteration", "ci95"} <= set(arm[name])
        assert len(arm[name]["by_iteration"]) == 6
        assert len(arm[name]["ci95"]) == 2
    for who in ("poisoned", "honest"):
        assert {"count", "of"} <= set(arm["refused"][who])
    assert arm["seconds"] == 12.0
    assert arm["asr"]["final"] == 0.25
    assert arm["unfinished_seeds"] == []


def test_summary_leaves_out_arms_without_rounds_and_is_replaced_whole(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, config(arms=("attack", "logit")), resume=False)
    assert folder.write_summary()["arms"] == {}
    with open_writer(folder.trial_folder("logit", 0)) as writer:
        write(writer, range(2))
    assert list(folder.write_summary()["arms"]) == ["logit"]
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".tmp")]
    folder.close()


def test_load_run_gives_frames_with_arm_seed_and_round(folder: RunFolder) -> None:
    with open_writer(folder.trial_folder("attack", 0)) as writer:
        write(writer, range(2))
    folder.write_summary()
    run = swarmproof.load_run(folder.path)
    for frame in (run.rounds, run.completions, run.timings):
        assert {"arm", "seed", "round"} <= set(frame.columns)
    assert (len(run.rounds), len(run.completions), len(run.timings)) == (2, 8, 4)
    assert run.timings["seconds"].sum() == 4.0
    assert run.timings["cpu_seconds"].sum() == 3.0
    assert set(run.completions["question"]) == {"What is 3 + 4?"}
    assert set(run.completions["answer"]) == {"7"}
    assert list(run.completions["token_ids"][0]) == [1, 2, 3]
    assert run.config["arms"]["attack"]["rounds"] == 6


def test_frames_of_a_run_without_rounds_have_their_columns(folder: RunFolder) -> None:
    folder.write_summary()
    run = load_run(folder.path)
    assert run.rounds.empty
    assert "asr" in run.rounds.columns
    assert "text" in run.completions.columns


def test_load_run_of_another_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a run folder"):
        load_run(tmp_path)


def test_import_is_light() -> None:
    code = "import sys, swarmproof; print({'torch', 'pandas', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
