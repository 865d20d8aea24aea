"""`report --export` writes what the file's name asks for, and refuses the rest before any work."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pytest

import swarmproof
from swarmproof.cli import tables
from swarmproof.records.folder import RunFolder
from swarmproof.report.table import HEADINGS


def exported(run: swarmproof.Run, path: Path) -> str:
    folder = RunFolder.open(run.path)
    tables.export(folder, path)
    return path.read_text(encoding="utf-8")


def test_json_has_everything(finished_run: swarmproof.Run, tmp_path: Path) -> None:
    found = json.loads(exported(finished_run, tmp_path / "deep" / "x.json"))
    assert found["arms"] == finished_run.summary["arms"]
    assert found["config"] == finished_run.config
    assert "torch" in found["versions"]


def test_csv_has_the_columns_of_the_table(finished_run: swarmproof.Run, tmp_path: Path) -> None:
    text = exported(finished_run, tmp_path / "x.csv")
    read = pd.read_csv(io.StringIO(text), index_col="arm")
    pd.testing.assert_frame_equal(read, finished_run.table(), check_dtype=False)


def test_markdown_is_one_row_an_arm(finished_run: swarmproof.Run, tmp_path: Path) -> None:
    lines = exported(finished_run, tmp_path / "x.md").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert rows[0] == list(HEADINGS)
    assert [row[0] for row in rows[2:]] == ["attack", "logit"]
    assert {len(row) for row in rows} == {len(HEADINGS)}
    refused = finished_run.summary["arms"]["logit"]["refused"]["honest"]
    assert f"{refused['count']} of {refused['of']}" in lines[3]


def test_latex_escapes_what_it_must(finished_run: swarmproof.Run, tmp_path: Path) -> None:
    text = exported(finished_run, tmp_path / "x.tex")
    assert text.count(r"\begin{tabular}{l" + "r" * (len(HEADINGS) - 1)) == 1
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0]
    assert body.count(r"\\") == 2
    assert body.count("&") == 2 * (len(HEADINGS) - 1)
    assert r"~\%" in body
    assert "→" not in text
    assert tables._escaped(r"a_b & 5% <c> #1 {x} ~ ^ \n") == (
        r"a\_b \& 5\% $<$c$>$ \#1 \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{}n"
    )


@pytest.mark.parametrize("name", ["x.xlsx", "x", "csv"])
def test_another_suffix_is_refused(name: str, finished_run: swarmproof.Run, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end in \.json, \.csv, \.md or \.tex"):
        exported(finished_run, tmp_path / name)
    assert not list(tmp_path.iterdir())
