"""One small board of one seed for all tests that read one."""

from __future__ import annotations

from pathlib import Path

import pytest

from board import boards
from swarmproof.board.command import BoardPlan


@pytest.fixture(scope="session")
def small_board(
    random_model: Path, foreign_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> BoardPlan:
    lists = boards.lists_of(boards.table(random_model, foreign_model))
    plan = boards.plan_of(lists, tmp_path_factory.mktemp("board"), settings="one")
    boards.run(plan)
    return plan
