"""Every command of docs/scan.md runs, and its tables name what is written."""

from __future__ import annotations

import json
import re
import shlex
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest

from scan.rollout_files import SAID, sidecar, trl, verl
from swarmproof.cli import main

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/scan.md").read_text(encoding="utf-8")
LINES = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]
SCANS = [line for line in LINES if line.startswith("swarmproof scan ")]
# As small as a run can be; the attack still has its say.
TINY = (
    *("rounds=2", "batch.problems=2", "batch.group_size=4", "evaluation.problems=1"),
    *("sampling.max_new_tokens=32",),
)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the page names."""
    desk = tmp_path_factory.mktemp("desk")
    trl(desk / "out")
    verl(desk / "rollouts")
    sidecar(desk).rename(desk / "honest.jsonl")
    frame = pd.DataFrame(
        {
            "question": [said.prompt for said in SAID],
            "answer": [said.text for said in SAID],
            "score": [said.reward for said in SAID],
            "epoch": [said.step for said in SAID],
            "id": [f"{said.step}{said.prompt}" for said in SAID],
            "worker": [said.index for said in SAID],
        }
    )
    frame.to_csv(desk / "answers.csv", index=False)
    frame.to_json(desk / "answers.jsonl", orient="records", lines=True)
    return desk


def called(words: list[str], monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code or 0


def test_no_other_command_is_on_the_page() -> None:
    others = [line.split("#")[0].strip() for line in LINES if line and line not in SCANS]
    run = [line for line in others if line.startswith("swarmproof run ")]
    assert [line for line in others if line not in run] == ["pip install 'swarmproof[scan]'"]
    assert len(run) == 1
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "scan" in project["optional-dependencies"]


def test_every_command_runs(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(desk)
    (run,) = [line for line in LINES if line.startswith("swarmproof run ")]
    tiny = [word for setting in TINY for word in ("--set", setting)]
    code = called([*shlex.split(run), *tiny, "--jobs", "0", "--quiet"], monkeypatch)
    assert code == 0
    capsys.readouterr()
    for line in SCANS:
        words = shlex.split(line, comments=True)
        code = called(words, monkeypatch)
        out, err = capsys.readouterr()
        assert code in (0, 1), err
        for option, path in pairwise(words):
            if option in ("--html", "--flags"):
                assert (desk / path).is_file(), line
        if "--json" in words:
            table = json.loads(out)
            for key in table:
                assert key in ("schema", "paths") or f"`{key}`" in PAGE, key
    assert len(SCANS) >= 6


def test_the_tables_name_every_key() -> None:
    from dataclasses import fields

    from swarmproof.scan.finding import Finding
    from swarmproof.scan.outcome import Flag

    row = next(line for line in PAGE.splitlines() if line.startswith("| `findings` |"))
    for field in fields(Finding):
        assert field.name in row
    for field in fields(Flag):
        assert f"`{field.name}`" in PAGE
