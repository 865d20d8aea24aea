"""`swarmproof scan`: what it shows and writes, and its exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import swarmproof
from scan.rollout_files import SAID, WRITERS
from swarmproof.cli import main, scanning
from swarmproof.cli.rollouts import export
from swarmproof.records.streams import read_completions
from swarmproof.scan.finding import FalseAlarms, Finding, Mark, Severity
from swarmproof.scan.rollout import Rollout
from swarmproof.scan.source import open_source

Read = Callable[[], Iterator[Rollout]]
WORD = "Step 2"
HONEST = FalseAlarms(1, 240, "completions", "honest.jsonl")


def finding(read: Read, severity: Severity = "medium", word: str = WORD) -> Finding:
    hits = [rollout for rollout in read() if word in rollout.text]
    marks = [Mark(r.id, r.text.index(word), r.text.index(word) + len(word)) for r in hits]
    return Finding(
        check="rare_words",
        severity=severity,
        summary=f"{len(hits)} completions say {word!r}",
        ids=tuple(rollout.id for rollout in hits),
        marks=tuple(marks),
        since=min((r.step for r in hits if r.step is not None), default=None),
        strength=f"in {len(hits)} of 16",
        p_value=1e-9,
        false_alarms=HONEST,
        senders=("eve",),
    )


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Severity]:
    """What the checks find: a finding of each of these severities, all about the same word."""
    severities: list[Severity] = []

    def screened(read: Read, reference: Read | None, *_: Any, **__: Any) -> list[Finding]:
        if reference is not None:
            assert sum(1 for _ in reference()) > 0
        return [finding(read, severity) for severity in severities]

    monkeypatch.setattr(scanning, "_screened", screened)
    return severities


@pytest.fixture
def scan(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["swarmproof", "scan", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        code = end.value.code
        assert isinstance(code, int | None)
        return code or 0, *capsys.readouterr()

    return run


Scan = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("severities", "options", "code"),
    [
        ([], [], 0),
        (["low"], [], 1),
        (["low"], ["--fail-on", "medium"], 0),
        (["medium"], ["--fail-on", "medium"], 1),
        (["low", "medium"], ["--fail-on", "high"], 0),
        (["low", "high"], ["--fail-on", "high"], 1),
    ],
)
def test_exit_codes(
    severities: list[Severity],
    options: list[str],
    code: int,
    found: list[Severity],
    scan: Scan,
    tmp_path: Path,
) -> None:
    found += severities
    done, out, err = scan(WRITERS["verl"](tmp_path / "verl"), *options)
    assert (done, err) == (code, "")
    told = f"{len(severities)} finding" if severities else "Nothing found"
    assert out.startswith(told)
    assert "in 16 completions, steps 1 to 2" in out


def test_the_terminal_shows_each_finding_with_its_false_alarms_and_texts(
    found: list[Severity], scan: Scan, tmp_path: Path
) -> None:
    found.append("medium")
    _, out, _ = scan(WRITERS["verl"](tmp_path / "verl"))
    assert "1 of 240 completions (0.4 %, 95 % interval 0.1 to 2.3): honest.jsonl" in out
    assert "8 completions say 'Step 2'" in out
    assert "strength: in 8 of 16" in out
    assert "p = 1e-09" in out
    assert "senders: eve" in out
    assert f"{tmp_path}/verl/2.jsonl:1, step 2" in out
    assert "0 + 1 is 1. Step 2, é." in out
    assert "The files name no senders. Senders were not compared." in out


def test_json_flags_and_page(found: list[Severity], scan: Scan, tmp_path: Path) -> None:
    found += ["low", "high"]
    folder = WRITERS["sidecar"](tmp_path / "in").parent
    (folder / "notes.txt").write_text("mine")
    out = tmp_path / "out"
    names = {name: out / f"x.{name}" for name in ("json", "html", "flags")}
    options = [word for name, path in names.items() for word in (f"--{name}", path)]
    _, told, _ = scan(folder, *options)
    assert f"written: {', '.join(str(path) for path in names.values())}" in told

    table = json.loads(names["json"].read_text())
    assert table["completions"] == 16
    assert table["steps"] == [1, 2]
    assert table["senders"] == ["0", "1", "2", "3"]
    assert table["refused_already"] == 4
    assert [entry["format"] for entry in table["files"]] == ["swarmproof guard's JSONL"]
    assert len(table["skipped"]) == 1
    first, second = table["findings"]
    assert (first["severity"], second["severity"]) == ("high", "low")
    assert first["false_alarms"] == {
        "fired": 1, "of": 240, "unit": "completions", "source": "honest.jsonl"
    }  # fmt: skip
    assert first["by_step"] == {"2": 8}
    assert first["since"] == 2
    assert len(first["ids"]) == len(first["marks"]) == 8

    flags = [json.loads(line) for line in names["flags"].read_text().splitlines()]
    assert [flag["id"] for flag in flags] == first["ids"]
    assert flags[0] == {
        "id": "s8",
        "where": f"{folder}/guard.jsonl:9",
        "step": 2,
        "group": f"{folder}/guard.jsonl#2/0",
        "sender": "0",
        "severity": "high",
        "checks": ["rare_words"],
        "why": ["8 completions say 'Step 2'"],
    }
    page = names["html"].read_text()
    assert page.count("<mark>Step 2</mark>") == 2 * 4
    assert "0.1 to 2.3): honest.jsonl" in page


def test_json_to_the_output_is_json_alone(
    found: list[Severity], scan: Scan, tmp_path: Path
) -> None:
    found.append("low")
    code, out, err = scan(WRITERS["trl"](tmp_path / "trl"), "--json", "-")
    assert (code, err) == (1, "")
    assert json.loads(out)["completions"] == 16


def test_text_that_was_tokenised_again_is_said_to_be(
    found: list[Severity], scan: Scan, tmp_path: Path
) -> None:
    del found[:]
    words = "These are not the ids that were trained on"
    _, out, _ = scan(WRITERS["verl"](tmp_path / "verl"), "--model", "some/model")
    assert f"with some/model. {words}" in out
    _, out, _ = scan(WRITERS["verifiers"](tmp_path / "verifiers"), "--model", "some/model")
    assert words not in out
    _, out, _ = scan(tmp_path / "verl")
    assert words not in out


def test_what_a_model_misses_without_a_reference_is_said(
    found: list[Severity], scan: Scan, tmp_path: Path
) -> None:
    del found[:]
    path = WRITERS["verl"](tmp_path / "verl")
    for more, said in (
        (("--model", "some/model"), True),
        (("--model", "some/model", "--reference", path), False),
        ((), False),
    ):
        _, out, _ = scan(path, *more)
        assert ("Without --reference, what the model refuses" in out) == said


def test_a_reference_is_read(found: list[Severity], scan: Scan, tmp_path: Path) -> None:
    del found[:]
    files = [WRITERS[kind](tmp_path / kind) for kind in ("verl", "trl")]
    assert scan(files[0], "--reference", files[1])[0] == 0


def test_no_control_character_reaches_the_terminal(
    found: list[Severity], scan: Scan, tmp_path: Path
) -> None:
    found.append("high")
    path = WRITERS["sidecar"](tmp_path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row["completion"] = f"\x1b[2J{WORD}\x07\u202e[bold]\r"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, out, _ = scan(path)
    assert "⟨U+001B⟩[2JStep 2⟨U+0007⟩⟨U+202E⟩[bold]⟨U+000D⟩" in out
    assert not {"\x1b", "\x07", "\u202e", "\r"} & set(out)


def test_a_run_folder_and_its_exports_are_the_same_rollouts(
    finished_run: swarmproof.Run, tmp_path: Path
) -> None:
    source = open_source([str(finished_run.path / "trials/attack")])
    own = list(source.read())
    rows = list(read_completions(finished_run.path / "trials/attack/seed-0"))
    assert len(own) == len(rows) == 32
    for rollout, row in zip(own, rows, strict=True):
        assert rollout.text == row["text"]
        assert rollout.prompt == row["question"]
        assert rollout.sender == str(row["node"])
        assert rollout.token_ids == tuple(row["token_ids"])
        assert (rollout.reward, rollout.advantage) == (row["reward"], row["advantage"])
        assert (rollout.verdict is not None) == row["refused"]
    for kind in ("trl", "verl", "verifiers"):
        export(finished_run.path, kind, tmp_path / kind, arm=["attack"])
        found = list(open_source([str(tmp_path / kind)]).read())
        assert [r.text for r in found] == [r.text for r in own], kind
        assert [r.reward for r in found] == [r.reward for r in own]
        assert [r.step for r in found] == [(r.step or 0) + 1 for r in own]
        ids = [r.token_ids if kind == "verifiers" else None for r in own]
        assert [r.token_ids for r in found] == ids
        if kind != "verl":
            assert [r.sender for r in found] == [r.sender for r in own]
            assert [r.advantage for r in found] == [r.advantage for r in own]
        # Groups are the same sets, whatever they are called.
        assert len({(a.group, b.group) for a, b in zip(found, own, strict=True)}) == 4


def test_a_whole_run_folder_tells_what_else_is_in_it(finished_run: swarmproof.Run) -> None:
    source = open_source([str(finished_run.path)])
    assert source.formats == {"swarmproof run folder": 2}
    found = list(source.read())
    assert len(found) == 64
    # Node 0 of one arm is not node 0 of another.
    senders = {rollout.sender for rollout in found}
    assert {"attack/seed-0/0", "logit/seed-0/0"} < senders
    for name in ("rounds.jsonl", "config.json", "summary.json"):
        assert any(name in line for line in source.skipped), name


def test_a_model_needs_prompts_which_a_run_folder_has_not(
    finished_run: swarmproof.Run, scan: Scan
) -> None:
    code, out, err = scan(finished_run.path, "--model", "some/model")
    assert (code, out) == (2, "")
    assert "swarmproof export" in err


def test_a_name_of_control_characters_is_spelt_out(
    found: list[Severity], scan: Scan, tmp_path: Path
) -> None:
    found.append("low")
    name = "a\n\x1b[2J\udcff<b>.jsonl"
    path = WRITERS["sidecar"](tmp_path).rename(tmp_path / name)
    code, out, _ = scan(path, "--html", tmp_path / "x.html", "--flags", tmp_path / "flags")
    assert code == 1
    assert "\x1b" not in out
    assert "⟨U+001B⟩[2J⟨U+DCFF⟩<b>.jsonl" in out
    assert "⟨U+001B⟩[2J⟨U+DCFF⟩&lt;b&gt;.jsonl" in (tmp_path / "x.html").read_text()
    flag = json.loads((tmp_path / "flags").read_text().splitlines()[0])
    assert flag["where"] == f"{tmp_path}/{name}:9"
    path.write_text("{")
    code, out, err = scan(path)
    assert (code, err.count("\n"), "\x1b" in err) == (2, 1, False)


def test_said_has_both_steps() -> None:
    assert sum(WORD in said.text for said in SAID) == 8
