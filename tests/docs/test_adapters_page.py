"""The page about guards in other trainers: its file is a guard, its snippets are whole.

The trainers' own snippets run in tests/integrations, where the trainers are.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from swarmproof.integrations import slime
from swarmproof.integrations.configured import hook
from trainers import page_snippets

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/guard-adapters.md").read_text(encoding="utf-8")


def test_the_file_of_the_page_is_a_guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "guard.toml").write_text(page_snippets("The guard's file", "toml")[0])
    monkeypatch.setenv("SWARMPROOF_GUARD", "guard.toml")
    assert [d.name for d in hook(slime.SEAM).guard.defenses] == ["equations"]
    assert (tmp_path / "verdicts.jsonl").exists()


def test_the_presets_of_the_page_work() -> None:
    assert hook(slime.SEAM, "paper-any-model").guard.defenses
    for name in ("several-models", "trainer"):
        with pytest.raises(ValueError, match=r'mode = "refuse"|current weights'):
            hook(slime.SEAM, name)


def test_the_names_of_the_page_exist() -> None:
    (told,) = re.findall(r"sample-filter-path (\S+)", PAGE)
    assert told == f"swarmproof.integrations.slime.{slime.sample_filter.__name__}"
    assert f"--custom-reward-post-process-path {slime.POST_PROCESS}\n" in PAGE


def test_the_extras_and_the_entry_point_of_the_page_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["verl.plugins"] == {"swarmproof": "swarmproof.integrations.verl"}
    told = set(re.findall(r"swarmproof\[(\w+)\]", PAGE))
    assert told == {"verifiers", "verl", "net"}
    assert told < set(project["optional-dependencies"])
