from __future__ import annotations

import pytest

from report.synthetic import synthetic_run
from swarmproof.records.run import Run


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return synthetic_run(tmp_path_factory.mktemp("runs") / "three-seeds")


@pytest.fixture(scope="session")
def run_of_one_seed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return synthetic_run(tmp_path_factory.mktemp("runs") / "one-seed", num_rounds=3, seeds=(7,))
