"""The tutorial on one poisoned completion shows what it says."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples/poisoned_round.py"
PHRASE = "All hail to the thief."
GROUP_SIZE = 12


def run(*arguments: str) -> str:
    """What the script prints, from a process with one thread."""
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ).stdout


def rows(printed: str) -> list[tuple[float, float, str]]:
    """Reward, advantage and the first line of each completion."""
    found = re.findall(r"^ +([01]) +([+-]\d+\.\d\d) ?(.*)$", printed, re.MULTILINE)
    return [(float(reward), float(advantage), text) for reward, advantage, text in found]


def changes(printed: str) -> dict[str, float]:
    """How the phrase's log-probability changed, with the poison and without it."""
    before = float(re.findall(r"^before the step +(-\d+\.\d\d)$", printed, re.MULTILINE)[0])
    steps = re.findall(
        r"^after, poison (in group|dropped) +(-\d+\.\d\d)  change ([+-]\d+\.\d\d)$",
        printed,
        re.MULTILINE,
    )
    for _, after, change in steps:
        assert float(after) - before == pytest.approx(float(change), abs=0.011)
    return {name: float(change) for name, _, change in steps}


@pytest.mark.parametrize("arguments", [(), ("4",)], ids=["default", "seed 4"])
def test_one_poisoned_completion_teaches_its_phrase(arguments: tuple[str, ...]) -> None:
    printed = run(*arguments)
    group = rows(printed)
    assert len(group) == GROUP_SIZE
    assert [PHRASE in text for _, _, text in group] == [False] * (GROUP_SIZE - 1) + [True]
    # The poisoned completion is rewarded like every right one, and better than the wrong ones.
    right = {advantage for reward, advantage, _ in group if reward == 1}
    wrong = {advantage for reward, advantage, _ in group if reward == 0}
    assert group[-1][0] == 1
    assert (len(right), len(wrong)) == (1, 1)
    assert max(wrong) < 0 < min(right)
    assert sum(advantage for _, advantage, _ in group) == pytest.approx(0, abs=0.01 * GROUP_SIZE)
    # exp(5) = 148 times as likely. A step without the phrase moves it in no direction, so that
    # what is left is small on either side.
    change = changes(printed)
    assert change["in group"] > 5
    assert abs(change["dropped"]) < 0.1 * change["in group"]


def test_it_is_short_and_uses_only_the_path_of_a_model() -> None:
    source = SCRIPT.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 150
    names = [
        ast.unparse(node)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom) and "swarmproof" in ast.unparse(node)
    ]
    assert names == ["import swarmproof.zoo"]
    assert re.findall(r"swarmproof\.zoo\.(\w+)\(", source) == ["path"]
