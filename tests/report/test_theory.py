"""The figure and table of leverage: what they show is what the functions say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from swarmproof.measure.leverage import best_count, expected_leverage, leverage, simulated_leverage
from swarmproof.report import theory


def text(**settings: float) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(theory.table((12, 16), **settings))
    return capture.get()


def test_draw_writes_both_and_the_same_svg_again(tmp_path: Path) -> None:
    png, svg = theory.draw(tmp_path / "new", (4, 6))
    assert png.read_bytes().startswith(b"\x89PNG")
    first = svg.read_text()
    assert "<svg" in first
    assert "<dc:date>" not in first
    assert theory.draw(tmp_path, (4, 6))[1].read_text() == first


def test_the_left_panel_is_the_closed_form_at_every_count() -> None:
    axes = theory.figure((12, 32)).axes[0]
    for line, size in zip(axes.lines, (12, 32), strict=True):
        assert np.asarray(line.get_xdata()).tolist() == [c / size for c in range(size + 1)]
        expected = [leverage(size, c) for c in range(size + 1)]
        assert np.asarray(line.get_ydata()).tolist() == expected


def test_the_right_panel_is_the_simulation_and_the_expectation_of_the_first_size() -> None:
    axes = theory.figure((6, 12), variance=0.04).axes[1]
    lines = iter(axes.lines)
    for mean in theory.HONEST_MEANS:
        simulated, exact = next(lines), next(lines)
        for c in range(7):
            found = simulated_leverage(6, c, mean, variance=0.04).mean
            assert np.asarray(simulated.get_ydata())[c] == found
            assert np.asarray(exact.get_ydata())[c] == expected_leverage(6, c, mean)
    assert len(axes.collections) == len(theory.HONEST_MEANS)


def test_a_large_group_is_drawn_at_whole_counts_from_end_to_end() -> None:
    shares = np.asarray(theory.figure((100,)).axes[1].lines[0].get_xdata())
    assert len(shares) == 33
    assert (shares[0], shares[-1]) == (0, 1)
    assert (shares * 100).tolist() == pytest.approx((shares * 100).round().tolist())


def test_the_table_names_the_best_count_and_the_usual_shares() -> None:
    (row,) = (line for line in text().splitlines() if "6 of 12" in line)
    for c in (6, 3, 2, 1):
        assert f"{leverage(12, c):.3f}" in row
    assert f"{expected_leverage(12, 3, 0.5):.3f} (3)" in text(accuracy=0.5)
    assert "accuracy 0.5" in text(accuracy=0.5)


@pytest.mark.parametrize("sizes", [(), (1,), (12, 12), (2, 3, 4, 5, 6, 7), (257,)])
def test_sizes_that_cannot_be_drawn_are_refused(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="give"):
        theory.figure(sizes)
    with pytest.raises(ValueError, match="give"):
        theory.table(sizes)


PAGE = (Path(__file__).parents[2] / "docs/theory.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("accuracy", [0, 0.1, 0.25, 0.5, 0.75, 0.9])
def test_the_page_has_the_numbers_of_the_functions(accuracy: float) -> None:
    cells = [f"{expected_leverage(12, c, accuracy):.3f}" for c in (1, 2, 3, 6)]
    assert f"| {accuracy:g} | {' | '.join(cells)} | {best_count(12, accuracy)} |" in PAGE


@pytest.mark.parametrize("variance", [0.25, 0.0625])
def test_the_page_has_the_numbers_of_both_readings(variance: float) -> None:
    found = [simulated_leverage(12, 3, mean, variance=variance).mean for mean in (0, 0.25, 0.5)]
    last = simulated_leverage(12, 3, 0.75, variance=variance).mean
    words = f"{', '.join(f'{value:.3f}' for value in found)} and {last:.3f}"
    assert words in " ".join(PAGE.split())
