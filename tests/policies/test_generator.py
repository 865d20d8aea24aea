"""However many rows a batch has room for, the same completions are drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from policies.lessons import PROMPTS
from swarmproof.config import SamplingConfig
from swarmproof.policies import sampler
from swarmproof.policies.generator import PackedGenerator
from swarmproof.policies.policy import load
from swarmproof.randomness import derive_seed

MAX_NEW_TOKENS = 8
MANY = (*PROMPTS, "0 1 2 3 4 5 6 7 8 9", "why", "not?")
SEEDS = [[derive_seed(0, "completion", p, g) for g in range(7)] for p in range(len(MANY))]


@pytest.fixture(scope="module")
def drawer(qwen2_dir: Path) -> PackedGenerator:
    of = load(str(qwen2_dir), SamplingConfig(max_new_tokens=MAX_NEW_TOKENS)).generator
    assert isinstance(of, PackedGenerator)
    return of


@pytest.mark.parametrize(
    ("rows", "batches"),
    [
        # Five prompts of seven seeds each.
        (1, [1] * 35),
        (3, [3, 3, 1] * 5),
        (7, [7] * 5),
        (10, [7] * 5),
        (14, [14, 14, 7]),
        (34, [28, 7]),
        (35, [35]),
        (1000, [35]),
    ],
)
def test_what_has_no_room_at_once_is_drawn_in_several_batches(
    drawer: PackedGenerator,
    monkeypatch: pytest.MonkeyPatch,
    rows: int,
    batches: list[int],
) -> None:
    whole = drawer.generate(MANY, SEEDS)
    assert [len(group) for group in whole] == [7] * 5
    assert len({row for group in whole for row in group}) > 30, "draws differ"
    sizes: list[int] = []
    draw = sampler.generate

    def watched(model: Any, prompts: Any, seeds: Any, *more: Any) -> Any:
        sizes.append(sum(map(len, seeds)))
        return draw(model, prompts, seeds, *more)

    monkeypatch.setattr(sampler, "generate", watched)
    # A little short of one more row.
    monkeypatch.setattr(drawer, "room", (rows + 1) * MAX_NEW_TOKENS - 1)
    assert drawer.generate(MANY, SEEDS) == whole
    assert sizes == batches


def test_a_row_that_has_no_room_is_drawn_all_the_same(
    drawer: PackedGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = drawer.generate(MANY[:1], [SEEDS[0][:2]])
    monkeypatch.setattr(drawer, "room", 1)
    assert drawer.generate(MANY[:1], [SEEDS[0][:2]]) == whole


def test_nothing_to_draw_is_nothing_drawn(drawer: PackedGenerator) -> None:
    assert drawer.generate([], []) == []
    assert drawer.generate(MANY[:2], [[], []]) == [[], []]
