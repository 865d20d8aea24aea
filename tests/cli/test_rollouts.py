"""The rollout files of a run have the layout of the tool that reads them, and lose nothing."""

from __future__ import annotations

import json
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import swarmproof
from swarmproof.cli.rollouts import export
from swarmproof.tasks.math_words import MathWords
from swarmproof.types import Problem


@cache
def problems() -> dict[str, Problem]:
    return {problem.id: problem for problem in MathWords().problems("train")}


def rows_of(run: swarmproof.Run, arm: str) -> list[dict[str, Any]]:
    rows: list[Any] = run.completions[run.completions["arm"] == arm].to_dict("records")
    return rows


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_trl(finished_run: swarmproof.Run, tmp_path: Path) -> None:
    export(finished_run.path, "trl", tmp_path / "out")
    for arm in ("attack", "logit"):
        folder = tmp_path / "out" / arm / "seed-0" / "completions"
        paths = sorted(folder.iterdir())
        assert [path.name for path in paths] == [
            "completions_00001.parquet", "completions_00002.parquet"
        ]  # fmt: skip
        table = pd.concat([pd.read_parquet(path) for path in paths])
        expected = rows_of(finished_run, arm)
        # The columns of GRPOTrainer, with one reward function and three extra columns.
        assert list(table.columns) == [
            "step", "prompt", "completion", "reward",
            "swarmproof/node", "swarmproof/poisoned", "swarmproof/refused", "advantage",
        ]  # fmt: skip
        assert list(table["completion"]) == [row["text"] for row in expected]
        assert list(table["step"]) == [row["round"] + 1 for row in expected]
        assert list(table["advantage"]) == [row["advantage"] for row in expected]
        assert list(table["swarmproof/poisoned"]) == [row["poisoned"] for row in expected]
        for prompt, row in zip(table["prompt"], expected, strict=True):
            assert prompt == MathWords().prompt(problems()[row["problem_id"]])
        # TRL's groups are runs of equal prompts.
        assert (table.groupby(["step", "prompt"]).size() == 8).all()


def test_verl(finished_run: swarmproof.Run, tmp_path: Path) -> None:
    export(finished_run.path, "verl", tmp_path / "out", arm=["attack"])
    folder = tmp_path / "out" / "attack" / "seed-0"
    assert not (tmp_path / "out" / "logit").exists()
    assert sorted(path.name for path in folder.iterdir()) == ["1.jsonl", "2.jsonl"]
    found = [row for step in (1, 2) for row in lines(folder / f"{step}.jsonl")]
    expected = rows_of(finished_run, "attack")
    assert [set(row) for row in found] == [
        {"input", "output", "gts", "score", "step", "uid"}
    ] * len(expected)
    groups = defaultdict(set)
    for row, source in zip(found, expected, strict=True):
        assert row["output"] == source["text"]
        assert row["score"] == source["reward"]
        assert row["gts"] == problems()[source["problem_id"]].answer
        uid, session, index = row["uid"].split("_")
        assert (session, int(index)) == ("0", source["index"])
        groups[uid].add((source["round"], source["problem_id"]))
    assert all(len(of) == 1 for of in groups.values())
    assert len(groups) == 4


def test_verifiers(finished_run: swarmproof.Run, tmp_path: Path) -> None:
    export(finished_run.path, "verifiers", tmp_path / "out", arm=["attack"])
    root = tmp_path / "out/attack/seed-0/rollouts"
    found = [row for n in (1, 2) for row in lines(root / f"step_{n}/train/all/traces.jsonl")]
    expected = rows_of(finished_run, "attack")
    assert len({row["id"] for row in found}) == len(found) == len(expected)
    for row, source in zip(found, expected, strict=True):
        (trace,) = row["traces"]
        asked, said = trace["nodes"]
        assert asked["message"]["content"] == row["task"]["data"]["prompt"]
        assert said["message"] == {"role": "assistant", "content": source["text"]}
        assert (asked["sampled"], said["sampled"], said["parent"]) == (False, True, 0)
        assert said["token_ids"] == source["token_ids"]
        assert said["mask"] == [True] * len(source["token_ids"])
        assert trace["rewards"] == {"reward": {"score": source["reward"], "weight": 1.0}}
        assert trace["info"]["swarmproof"]["poisoned"] == source["poisoned"]
        assert row["run"]["work"]["step"] == source["round"] + 1
    assert len({row["group"]["id"] for row in found}) == 4


def test_an_export_is_the_same_bytes_again(finished_run: swarmproof.Run, tmp_path: Path) -> None:
    for format_ in ("verl", "verifiers"):
        for name in "ab":
            export(finished_run.path, format_, tmp_path / format_ / name, arm=["logit"])
        first, second = (
            {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}
            for root in (tmp_path / format_ / "a", tmp_path / format_ / "b")
        )
        assert first == second


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"format_": "ver"}, "did you mean 'verl'"),
        ({"arm": ["atack"]}, "did you mean 'attack'"),
        ({"cohort": "x"}, "--cohort 'x'.*known: honest"),
    ],
)
def test_an_export_that_cannot_be_is_refused(
    arguments: dict[str, Any], words: str, finished_run: swarmproof.Run, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=words):
        export(finished_run.path, **{"format_": "verl", "out": tmp_path / "out", **arguments})
    assert not list(tmp_path.iterdir())


def test_an_export_never_overwrites(finished_run: swarmproof.Run, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="not an empty folder"):
        export(finished_run.path, "verl", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
