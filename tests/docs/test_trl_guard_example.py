"""The example with a poisoned sender in TRL runs, and its guard refuses that sender.

Whether the phrase is learnt takes 60 steps, and is measured by the example itself.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples/trl_guard.py"

pytestmark = pytest.mark.filterwarnings("ignore")  # of TRL and its dependencies


def test_the_guard_refuses_the_poison_and_little_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location("trl_guard", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    arguments = (
        "1 --steps 2 --problems 8 --test 8 --arms unguarded guarded --preset paper-one-model"
    )
    monkeypatch.setattr(sys, "argv", ["trl_guard.py", *arguments.split()])
    example.main()
    printed = capsys.readouterr().out
    assert len(re.findall(r"phrase +0/8 = +0\.0% .* right +\d/8 = ", printed)) == 2
    unguarded, guarded = printed.split("guarded by paper-one-model")
    counts = re.compile(r"^  (\w+): (\d+) of 32 refused", re.MULTILINE)
    assert {int(refused) for _, refused in counts.findall(unguarded)} == {0}
    told = {name: int(refused) for name, refused in counts.findall(guarded)}
    assert told == {"ann": 0, "ben": 0, "cat": 0, "eve": 32}
