"""The pictures: reproducible, one colour per arm, labels that can be read."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from swarmproof.records import Run
from swarmproof.report import curves
from swarmproof.report.palette import arm_colours


def test_draw_writes_png_and_svg(run: Run, tmp_path: Path) -> None:
    png, svg = curves.draw(run, tmp_path)
    assert png.read_bytes().startswith(b"\x89PNG")
    assert "<svg" in svg.read_text()


def test_the_same_run_gives_the_same_svg_without_a_date(run: Run) -> None:
    assert curves.svg(run) == curves.svg(run)
    assert "<dc:date>" not in curves.svg(run)


def test_a_line_is_the_mean_over_seeds_from_iteration_one(run: Run) -> None:
    axes = curves.figure(run).axes[0]
    for line, arm in zip(axes.lines, run.summary["arms"], strict=True):
        assert np.asarray(line.get_xdata()).tolist() == list(range(1, 61))
        means = run.summary["arms"][arm]["asr"]["by_iteration"]
        assert np.asarray(line.get_ydata()).tolist() == pytest.approx(means, abs=1e-5)


def test_bands_only_where_there_are_several_seeds(run: Run, run_of_one_seed: Run) -> None:
    assert len(curves.figure(run).axes[0].collections) == 3
    assert len(curves.figure(run_of_one_seed).axes[0].collections) == 0


def test_a_run_without_rounds_is_one_line(run: Run) -> None:
    empty = Run({**run.summary, "arms": {}}, run.config, run.rounds, run.completions, run.timings)
    with pytest.raises(ValueError, match="nothing to draw yet"):
        curves.svg(empty)


def test_labels_are_pushed_apart_in_order_and_no_further() -> None:
    placed = curves.spread([0.0, 0.01, 0.9, 0.0], gap=0.1)
    assert placed == pytest.approx([0.0, 0.2, 0.9, 0.1])
    assert curves.spread([0.1, 0.5, 0.9], gap=0.1) == [0.1, 0.5, 0.9]
    crowd = sorted(curves.spread([0.5] * 5, gap=0.08))
    assert all(b - a == pytest.approx(0.08) for a, b in pairwise(crowd))


def test_colours_do_not_depend_on_which_other_usual_arms_there_are() -> None:
    full = arm_colours(["no-attack", "attack", "logit", "judge"])
    assert len(set(full.values())) == 4
    assert arm_colours(["attack", "logit"]) == {k: full[k] for k in ("attack", "logit")}
