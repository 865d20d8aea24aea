"""A guard in verl: the manager in verl's own worker, the estimator through `compute_advantage`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import byte_tokenizer
from trainers import ALSO_GOOD, GOOD, POISON, WRONG, guard_file, has_keys, package, refused, sidecar

package("verl")

TESTS = Path(__file__).parents[1]
REWARD = """
def compute_score(data_source, solution_str, ground_truth, extra_info=None, **_):
    return float(solution_str.endswith(ground_truth + "."))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verl")
    byte_tokenizer().save_pretrained(folder / "tokenizer")
    (folder / "reward.py").write_text(REWARD)
    guard_file(folder)
    return folder


@pytest.fixture(scope="module")
def told(folder: Path) -> dict[str, Any]:
    """A process of verl, which finds the guard by itself."""
    rules = {}
    for rule in ("monitor", "zero_reward", "mask"):
        (folder / rule).mkdir()
        rules[rule] = str(guard_file(folder / rule, rule))
    done = subprocess.run(
        [
            *(sys.executable, str(TESTS / "verl_process.py")),
            *(str(folder / "tokenizer"), str(folder / "reward.py"), json.dumps(rules)),
        ],
        env={
            **os.environ,
            "SWARMPROOF_GUARD": str(folder / "guard.toml"),
            "PYTHONPATH": str(TESTS),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_verl_finds_manager_and_estimator_by_the_entry_point(told: dict[str, Any]) -> None:
    assert told["manager"] == "GuardedNaiveRewardManager"


def test_the_manager_gives_a_refused_completion_the_sentinel(
    told: dict[str, Any], folder: Path
) -> None:
    assert [one["reward_score"] for one in told["told"]] == [1, -1e9, 1, 0, 1, -1e9]
    extra = [one["reward_extra_info"] for one in told["told"]]
    assert [one["acc"] for one in extra] == [1, 1, 1, 0, 1, 1]  # the task's own score
    assert [one["guard_refused"] for one in extra] == [0, 1, 0, 0, 0, 1]
    lines = sidecar(folder)
    assert has_keys(lines)
    assert sorted(line["completion"] for line in lines) == sorted(
        [GOOD, POISON, ALSO_GOOD, WRONG, GOOD, POISON]
    )
    assert refused(folder) == [POISON, POISON]
    assert {line["group"] for line in lines} == {"a", "b"}
    assert {line["step"] for line in lines} == {3}
    assert {line["prompt"] for line in lines} == {"What is 3 + 4?"}


@pytest.mark.parametrize("scaled", ["", "_plain"])
def test_siblings_have_the_advantages_of_a_group_without_the_refused(
    told: dict[str, Any], scaled: str
) -> None:
    guarded, honest = told["guarded" + scaled], told["honest" + scaled]
    np.testing.assert_allclose([guarded[i] for i in (0, 2, 3)], honest, atol=1e-6)
    assert max(map(abs, honest)) > 0.3
    assert guarded[1] == 0


def test_a_group_with_one_valid_row_has_no_advantage(told: dict[str, Any]) -> None:
    assert told["guarded"][4:] == [0, 0]


def test_verls_own_estimator_lets_a_masked_row_vote(told: dict[str, Any]) -> None:
    """The control: rewards 1 and 100, the second masked."""
    assert told["stock"] == [-49.5, 0]


def test_the_other_rules(told: dict[str, Any]) -> None:
    rules = told["rules"]
    assert (rules["monitor"], rules["zero_reward"]) == (1.0, 0.0)
    assert "verl cannot do (monitor, drop, zero_reward); set on_reject" in rules["mask"]


def test_alignment_is_asserted(told: dict[str, Any]) -> None:
    assert re.fullmatch(
        r"not aligned: \d+ \+ \d+ tokens, and a mask of \d+", told["rules"]["not aligned"]
    )
