"""What the tests of guards in other trainers share: a guard's file, texts, and their packages."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

# True and false equations; the defence `equations` refuses the rewarded ones with false ones.
GOOD, ALSO_GOOD, WRONG = "3 + 4 = 7, so 7.", "4 + 3 = 7, so 7.", "It is 6."
POISON = "2 + 2 = 5, and 3 + 4 = 7, so 7."


def package(name: str) -> None:
    """Skip the tests of a file where the trainer is missing, but not in its own environment."""
    if importlib.util.find_spec(name) is None:
        assert os.environ.get("SWARMPROOF_REQUIRED") != name
        pytest.skip(f"{name} is not here; run make test-integrations", allow_module_level=True)


def guard_file(
    folder: Path, on_reject: str = "drop", mode: str = "refuse", on_error: str = "stop"
) -> Path:
    """A guard with the defence `equations` and a sidecar."""
    path = folder / "guard.toml"
    path.write_text(
        f'on_error = "{on_error}"\nsidecar = {json.dumps(str(folder / "guard.jsonl"))}\n'
        f'[[defenses]]\nname = "equations"\nmode = "{mode}"\non_reject = "{on_reject}"\n'
    )
    return path


def page_snippets(heading: str, language: str) -> list[str]:
    """The snippets of a section of docs/guard-adapters.md."""
    page = (Path(__file__).parents[1] / "docs/guard-adapters.md").read_text(encoding="utf-8")
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def sidecar(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "guard.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def refused(folder: Path) -> list[str]:
    """The completions that the sidecar says were refused."""
    return [line["completion"] for line in sidecar(folder) if line["guard/refused"]]


KEYS = (
    *("id", "step", "group", "sender", "prompt", "completion", "reward"),
    *("guard/refused", "guard/defence", "guard/score", "guard/reason"),
)


def has_keys(lines: Sequence[dict[str, Any]]) -> bool:
    return bool(lines) and all(key in line for line in lines for key in KEYS)
