"""One small finished run for all tests of commands that read one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import swarmproof

SETTINGS: dict[str, Any] = {
    "rounds": 2,
    "batch": {"problems": 2, "group_size": 8},
    "sampling.max_new_tokens": 64,
    "evaluation.problems": 4,
    "attack.phrase": "50% & more_or_less",
}


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> swarmproof.Run:
    folder: Path = tmp_path_factory.mktemp("runs") / "small"
    return swarmproof.run(
        arms=["attack", "logit"], set=SETTINGS, seeds=1, out=folder, jobs=0, quiet=True
    )
