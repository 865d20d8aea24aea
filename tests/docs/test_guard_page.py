"""The page about guards in trainers: its snippets run as they stand, and do what it says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

PAGE = Path(__file__).parents[2] / "docs/guard.md"

pytestmark = pytest.mark.filterwarnings("ignore")  # of TRL and its dependencies


def section(heading: str) -> str:
    text = PAGE.read_text(encoding="utf-8")
    (found,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return str(found)


def test_trls_snippets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One after the other, as somebody who reads the page would run them."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "snippets"}
    blocks = re.findall(r"^```python\n(.*?)^```$", section("TRL"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(block, names)
    for folder in ("wrapped", "mixed", "peers"):
        (file,) = (tmp_path / folder / "completions").glob("*.parquet")
        table = pd.read_parquet(file)
        assert len(table) == 8
        told = {name for name in table if str(name).startswith("guard/")}
        assert told == {f"guard/{n}" for n in ("refused", "defence", "score", "reason", "reward")}
    refused = table[table["guard/refused"] & table["completion"].str.contains("3 . 4 = 8")]
    assert len(refused) == 2
    assert refused["guard/reward"].notna().all()
    assert refused[["right", "short"]].isna().all().all()
    lines = [json.loads(line) for line in (tmp_path / "verdicts.jsonl").open(encoding="utf-8")]
    assert [line["sender"] for line in lines] == ["ann", "ben", "eve", "me"] * 2
    assert all(line["guard/refused"] for line in lines if line["sender"] == "eve")
    assert not any(line["guard/refused"] for line in lines if line["sender"] in ("ann", "ben"))
    printed = capsys.readouterr().out
    assert re.search(r"^eve 2 2 \(.*\) \{.*is false", printed, re.MULTILINE)
    assert re.search(r"^\[\] 0$", printed, re.MULTILINE)


def test_the_columns_of_the_sidecar_are_those_of_the_page(tmp_path: Path) -> None:
    from swarmproof import Guard
    from swarmproof.integrations.rows import TrainerRow
    from swarmproof.integrations.sidecar import Sidecar
    from swarmproof.integrations.watch import Watch

    path = tmp_path / "verdicts.jsonl"
    Watch(Guard([]), sidecar=Sidecar(path)).look([TrainerRow("g", "p", "t", 1.0)])
    listed, _, _ = section("A file of verdicts").partition(". It is for")
    assert re.findall(r"`([\w/]+)`", listed) == list(json.loads(path.read_text()))
