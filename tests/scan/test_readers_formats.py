"""Every format is known by its content, and nothing in it is lost, swapped or made up."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scan.rollout_files import SAID, WRITERS, answer, episode, trl_frame, write_lines
from swarmproof.scan.readers.columns import ColumnNames
from swarmproof.scan.rollout import Rollout
from swarmproof.scan.source import Tally, open_source

EVALUATIONS = ("results", "lm-eval", "inspect-json", "inspect-eval")
REFUSED = "logit: improbable"


def read(path: Path, columns: ColumnNames | None = None) -> list[Rollout]:
    return list(open_source([str(path)], columns).read())


@pytest.fixture(params=WRITERS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_format_gives_every_completion_once(kind: str, tmp_path: Path) -> None:
    found = read(WRITERS[kind](tmp_path / kind))
    assert sorted(r.text for r in found) == sorted(said.text for said in SAID)
    by_text = {r.text: r for r in found}
    for said in SAID:
        rollout = by_text[said.text]
        assert rollout.prompt.endswith(said.prompt)
        # Two rewards with the weights 2 and 1.
        assert rollout.reward == said.reward * (2 if kind == "verifiers" else 1)
        assert rollout.step == (None if kind in EVALUATIONS else said.step)
        assert rollout.answer in (None, answer(said))
        path, _, place = rollout.where.partition(":")
        assert Path(path).is_file()
        assert place
    assert len({r.id for r in found}) == len(found)
    # The same again: checks read more than once.
    assert read(tmp_path / kind) == found


def test_groups_are_the_completions_of_one_prompt_in_one_step(kind: str, tmp_path: Path) -> None:
    groups = defaultdict(set)
    said_of = {said.text: said for said in SAID}
    for rollout in read(WRITERS[kind](tmp_path / kind)):
        assert rollout.group is not None
        said = said_of[rollout.text]
        groups[rollout.group].add((said.step, said.prompt))
    assert all(len(of) == 1 for of in groups.values())
    assert len(groups) == (16 if kind == "lm-eval" else 4)


def test_ids_log_probabilities_and_masks_come_from_those_that_have_them(
    kind: str, tmp_path: Path
) -> None:
    said_of = {said.text: said for said in SAID}
    for rollout in read(WRITERS[kind](tmp_path / kind)):
        said = said_of[rollout.text]
        if kind in ("verifiers", "slime"):
            assert rollout.token_ids == tuple(said.ids)
            assert rollout.logprobs == tuple(said.logprobs)
            assert rollout.token_mask == (1, 1, 1, 1)
        else:
            assert (rollout.token_ids, rollout.logprobs, rollout.token_mask) == (None, None, None)
        has_advantage = kind in ("trl", "verifiers")
        assert rollout.advantage == (said.advantage if has_advantage else None)
        truncates = kind in ("results", "slime", "inspect-json", "inspect-eval")
        if truncates:
            assert rollout.truncated is (said.index == 3)
        else:
            assert rollout.truncated is (False if kind == "verifiers" else None)
        guarded = kind in ("trl", "sidecar")
        assert rollout.verdict == (REFUSED if guarded and said.index == 3 else None)
        assert rollout.masked is (
            (guarded and said.index == 3) or (kind == "slime" and said.index == 2)
        )
        assert rollout.sender == (str(said.index) if kind == "sidecar" else None)


def test_steps_come_in_order_of_numbers(tmp_path: Path) -> None:
    row = {"input": "q", "output": "a", "gts": "1", "score": 1.0}
    for step in (10, 2, 1):
        write_lines(tmp_path / f"{step}.jsonl", [row])
    # Without the field, the file's name has the step.
    assert [rollout.step for rollout in read(tmp_path)] == [1, 2, 10]


def test_a_branch_of_a_trace_is_a_rollout_and_other_peoples_tokens_are_masked(
    tmp_path: Path,
) -> None:
    def node(parent: int | None, role: str, text: str, first: int) -> dict[str, object]:
        own = role == "assistant"
        return {
            "parent": parent,
            "message": {"role": role, "content": text},
            "sampled": own,
            "token_ids": [first, first + 1],
            "mask": [False, own],
            "logprobs": [-1.0 * first] if own else [],
        }

    one = episode(SAID[0])
    one["traces"][0] |= {
        "nodes": [
            node(None, "user", "Q", 10),
            node(0, "assistant", "call", 20),
            node(1, "tool", "result", 30),
            node(2, "assistant", "end", 40),
            node(0, "assistant", "other", 50),
        ],
        "calls": [{"node": 3, "finish_reason": "length"}, {"node": 4, "finish_reason": "stop"}],
    }
    first, second = read(write_lines(tmp_path / "traces.jsonl", [one]))
    assert (first.text, second.text) == ("call\nend", "other")
    assert first.token_ids == (21, 30, 31, 40, 41)
    assert first.token_mask == (1, 0, 0, 0, 1)
    assert first.logprobs == (-20.0, 0.0, 0.0, 0.0, -40.0)
    assert second.token_ids == (51,)
    assert (first.truncated, second.truncated) == (True, False)
    assert first.id != second.id


def test_a_trace_with_an_error_neither_trained_nor_voted(tmp_path: Path) -> None:
    one = episode(SAID[0])
    one["traces"][0] |= {"ok": False, "rewards": {"right": None}}
    (found,) = read(write_lines(tmp_path / "traces.jsonl", [one]))
    assert found.masked
    assert found.reward is None


def test_an_id_that_comes_twice_names_its_line(tmp_path: Path) -> None:
    one = episode(SAID[0])
    first, second = read(write_lines(tmp_path / "traces.jsonl", [one, one]))
    assert first.id == one["traces"][0]["id"]
    assert second.id == f"{first.id}@{tmp_path}/traces.jsonl:2"


def test_reasoning_and_calls_of_tools_are_text_of_the_model(tmp_path: Path) -> None:
    said = {
        "role": "assistant",
        "reasoning_content": "I think.",
        "content": "I call.",
        "tool_calls": [{"name": "shell", "arguments": "rm"}],
    }
    asked = {"role": "tool", "content": "not mine"}
    row = {"example_id": 1, "prompt": "q", "completion": [said, asked], "reward": 1}
    (found,) = read(write_lines(tmp_path / "results.jsonl", [row]))
    assert found.text == 'I think.\nI call.\n[{"name":"shell","arguments":"rm"}]'


def test_trl_writes_nan_for_no_reward_and_a_guard_the_raw_one(tmp_path: Path) -> None:
    frame = trl_frame(1).assign(style=0.25)
    frame.loc[3, ["right", "style"]] = float("nan")
    frame.to_parquet(tmp_path / "completions_00001.parquet")
    rewards = [rollout.reward for rollout in read(tmp_path)]
    assert rewards[:4] == [1.25, 0.25, 0.25, None]
    # pandas writes NaN as nothing, other writers as a number.
    table = pa.table({name: list(frame[name]) for name in frame})
    assert table["right"].null_count == 0
    pq.write_table(table, tmp_path / "completions_00001.parquet")
    assert [rollout.reward for rollout in read(tmp_path)] == rewards
    frame["guard/reward"] = frame["right"].fillna(1.0)
    frame.to_parquet(tmp_path / "completions_00001.parquet")
    assert [rollout.reward for rollout in read(tmp_path)][:4] == [1.0, 0.0, 0.0, 1.0]


def test_chats_of_trl(tmp_path: Path) -> None:
    plain = trl_frame(1)
    frame = plain.assign(
        prompt=pd.Series([[{"role": "user", "content": text}] for text in plain["prompt"]]),
        completion=pd.Series(
            [[{"role": "assistant", "content": text}] for text in plain["completion"]]
        ),
    )
    frame.to_parquet(tmp_path / "completions_00001.parquet")
    assert [rollout.text for rollout in read(tmp_path)] == [said.text for said in SAID[:8]]


COLUMNS = ColumnNames("q", "a", reward="r", group="g", sender="s", answer="t", step="n")


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_columns_that_the_user_names(suffix: str, tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "q": [said.prompt for said in SAID],
            "a": [f'{said.text}, "quoted"\nand more' for said in SAID],
            "r": [said.reward for said in SAID],
            "g": [said.prompt[8] for said in SAID],
            "s": [f"node {said.index}" for said in SAID],
            "t": [answer(said) for said in SAID],
            "n": [said.step for said in SAID],
        }
    )
    path = tmp_path / f"mine.{suffix}"
    if suffix == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        getattr(frame, f"to_{suffix}")(path, index=False)
    found = read(path, COLUMNS)
    assert len(found) == len(SAID)
    for rollout, said in zip(found, SAID, strict=True):
        assert rollout.text == f'{said.text}, "quoted"\nand more'
        assert (rollout.reward, rollout.step) == (said.reward, said.step)
        assert (rollout.sender, rollout.answer) == (f"node {said.index}", answer(said))
    assert len({rollout.group for rollout in found}) == 4
    few = read(path, ColumnNames("q", "a"))
    assert {(r.reward, r.step, r.sender, r.answer) for r in few} == {(None,) * 4}
    # Without steps, two prompts are two groups.
    assert len({rollout.group for rollout in few}) == 2


def test_folders_patterns_links_and_loops(tmp_path: Path) -> None:
    folder = WRITERS["verl"](tmp_path / "verl")
    (folder / "again").symlink_to(folder)
    (folder / "one-more.jsonl").symlink_to(folder / "1.jsonl")
    (folder / "notes.txt").write_text("mine")
    (folder / "config.jsonl").write_text('{"lr": 1}\n')
    (folder / ".hidden.jsonl").write_text("{")
    source = open_source([str(folder), str(folder / "*.jsonl"), str(folder / "1.jsonl")][:1])
    tally = Tally()
    assert len(list(source.read(tally))) == len(SAID)
    assert (tally.completions, tally.with_reward, tally.steps) == (16, 16, {1: 8, 2: 8})
    assert [Path(line.split(":")[0]).name for line in source.skipped] == [
        "notes.txt",
        "config.jsonl",
    ]
    both = open_source([str(folder / "[12].jsonl"), str(folder / "1.jsonl")])
    assert [file.source.path.name for file in both.files] == ["1.jsonl", "2.jsonl"]


def test_a_file_is_read_as_far_as_it_was_when_the_scan_began(tmp_path: Path) -> None:
    path = WRITERS["sidecar"](tmp_path)
    path.write_bytes(path.read_bytes().rstrip())
    source = open_source([str(path)])
    with path.open("a") as file:
        file.write('{"half a li')
    assert len(list(source.read())) == len(list(source.read())) == len(SAID)


def test_a_mark_of_utf8_and_empty_lines_are_no_trouble(tmp_path: Path) -> None:
    path = WRITERS["sidecar"](tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n\r\n"))
    found = read(path)
    assert len(found) == len(SAID)
    assert found[1].where == f"{path}:3"


def test_keys_within_texts_are_not_keys(tmp_path: Path) -> None:
    path = WRITERS["sidecar"](tmp_path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[0]["completion"] = text = '{"reward": 1, "reward": 2, "reward" : 3}'
    assert read(write_lines(path, rows))[0].text == text
