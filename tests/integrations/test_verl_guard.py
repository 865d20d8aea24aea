"""A guard in verl: the manager in verl's own worker, the estimator through `compute_advantage`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import byte_tokenizer
from trainers import ALSO_GOOD, GOOD, POISON, WRONG, guard_file, has_keys, package, refused, sidecar

verl = package("verl")

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
    """A process that imports verl alone."""
    done = subprocess.run(
        [
            *(sys.executable, str(TESTS / "verl_process.py")),
            *(str(folder / "tokenizer"), str(folder / "reward.py")),
        ],
        env={
            **os.environ,
            "SWARMPROOF_GUARD": str(folder / "guard.toml"),
            "PYTHONPATH": str(TESTS),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
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


def test_a_failure_to_register_is_not_silent(tmp_path: Path) -> None:
    """verl itself logs it at debug level."""
    (tmp_path / "cachetools.py").write_text("raise ImportError('no cachetools here')\n")
    done = subprocess.run(
        [sys.executable, "-c", "import swarmproof.integrations.verl"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert "swarmproof: the guard is NOT registered in verl: no cachetools here" in done.stderr


@pytest.mark.parametrize(
    ("rule", "expected", "word"),
    [("monitor", 1.0, ""), ("zero_reward", 0.0, ""), ("mask", None, "cannot do")],
)
def test_the_other_rules(tmp_path: Path, rule: str, expected: float | None, word: str) -> None:
    from swarmproof.integrations import verl as adapter
    from swarmproof.integrations.configured import hook
    from verl_process import batch

    tokenizer = byte_tokenizer()
    source = str(guard_file(tmp_path, rule))
    if expected is None:
        with pytest.raises(ValueError, match=word):
            hook(adapter.SEAM, source)
        return
    item = batch(tokenizer, [POISON], ["a"])[0]
    result = {"reward_score": 1.0, "reward_extra_info": {}}
    told = adapter._inspect(hook(adapter.SEAM, source), item, tokenizer, result)
    assert told["reward_score"] == expected
    item.batch["attention_mask"] = item.batch["attention_mask"][1:]
    with pytest.raises(ValueError, match="not aligned: "):
        adapter._inspect(hook(adapter.SEAM, source), item, tokenizer, result)
