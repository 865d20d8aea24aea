"""The pictures: reproducible, one colour per arm, labels that can be read."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from swarmproof.records.folder import Run
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


def test_each_of_several_models_has_panels_and_the_swarm_is_the_mean_over_nodes(run: Run) -> None:
    arms = {
        name: arm | {"models": {"a": arm, "b": arm}} if name == "attack" else arm
        for name, arm in run.summary["arms"].items()
    }
    attacked = run.rounds[run.rounds["arm"] == "attack"]
    models = [
        attacked.assign(cohort=name, nodes=nodes, reward=reward)
        for name, nodes, reward in (("a", 2, 0.9), ("b", 1, 0.6))
    ]
    rounds = pd.concat([run.rounds[run.rounds["arm"] != "attack"], *models])
    several = replace(run, summary=run.summary | {"arms": arms}, rounds=rounds)
    figure = curves.figure(several)
    assert len(figure.axes) == 9
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[:2] == ["Attack success", "Accuracy"]
    assert titles[4::3] == ["Accuracy\na", "Accuracy\nb"]
    lines = [axes.lines for axes in figure.axes[1::3]]
    assert [len(row) for row in lines] == [len(arms), 1, 1]
    place = list(arms).index("attack")
    for line, value in ((lines[0][place], 0.8), (lines[1][0], 0.9), (lines[2][0], 0.6)):
        assert np.asarray(line.get_ydata()).tolist() == pytest.approx([value] * 60)


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
    # At the top they are pushed down, as they are up at the bottom, and what is below makes room.
    high = curves.spread([0.75, 0.88, 0.89, 0.9, 0.9, 0.91, 0.95, 0.9], gap=0.08)
    assert max(high) <= 1 + 1e-9
    assert all(b - a >= 0.08 - 1e-9 for a, b in pairwise(sorted(high)))
    assert min(high) == high[0]


def test_colours_do_not_depend_on_which_other_usual_arms_there_are() -> None:
    full = arm_colours(["no-attack", "attack", "logit", "judge"])
    assert len(set(full.values())) == 4
    assert arm_colours(["attack", "logit"]) == {k: full[k] for k in ("attack", "logit")}
