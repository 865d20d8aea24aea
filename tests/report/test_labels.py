"""Labels at the ends of lines can be read."""

from __future__ import annotations

import warnings
from dataclasses import replace
from itertools import pairwise

import pandas as pd
import pytest

from swarmproof.records.run import Run
from swarmproof.report import curves, labels


def test_labels_are_pushed_apart_in_order_and_no_further() -> None:
    placed = labels.spread([0.0, 0.01, 0.9, 0.0], gap=0.1)
    assert placed == pytest.approx([0.0, 0.2, 0.9, 0.1])
    assert labels.spread([0.1, 0.5, 0.9], gap=0.1) == [0.1, 0.5, 0.9]
    crowd = sorted(labels.spread([0.5] * 5, gap=0.08))
    assert all(b - a == pytest.approx(0.08) for a, b in pairwise(crowd))
    # At the top they are pushed down, as they are up at the bottom, and what is below makes room.
    high = labels.spread([0.75, 0.88, 0.89, 0.9, 0.9, 0.91, 0.95, 0.9], gap=0.08)
    assert max(high) <= 1 + 1e-9
    assert all(b - a >= 0.08 - 1e-9 for a, b in pairwise(sorted(high)))
    assert min(high) == high[0]


def test_labels_do_not_overlap_and_none_is_cut_off_however_long_and_many(run: Run) -> None:
    names = [f"an-arm-with-a-very-long-name-{i}" for i in range(20)]
    figure = curves.figure(_with_arms(run, names))
    figure.draw_without_rendering()
    for axes in figure.axes:
        boxes = [text.get_window_extent() for text in axes.texts]
        assert sorted(text.get_text().split("  ")[0] for text in axes.texts) == sorted(names)
        boxes.sort(key=lambda box: box.y0)
        assert all(below.y1 <= above.y0 + 1 for below, above in pairwise(boxes))
        assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
        assert all(figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1 for box in boxes)
        assert axes.bbox.width > 100


def test_an_arm_without_a_value_has_neither_line_nor_label_and_spoils_nothing(run: Run) -> None:
    rounds = run.rounds.copy()
    rounds.loc[rounds["arm"] == "logit", "asr"] = float("nan")
    arms = run.summary["arms"]
    nothing = arms["logit"] | {"asr": arms["logit"]["asr"] | {"final": None}}
    summary = run.summary | {"arms": arms | {"logit": nothing}}
    figure = curves.figure(replace(run, rounds=rounds, summary=summary))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.draw_without_rendering()
    axes = figure.axes[0]
    assert (len(axes.lines), len(axes.texts)) == (2, 2)


def _with_arms(run: Run, names: list[str]) -> Run:
    arm, trial = run.summary["arms"]["attack"], run.config["arms"]["attack"]
    attacked = run.rounds[run.rounds["arm"] == "attack"]
    return Run(
        run.path,
        run.summary | {"arms": dict.fromkeys(names, arm)},
        run.config | {"arms": dict.fromkeys(names, trial)},
        pd.concat([attacked.assign(arm=name) for name in names]),
        run.completions,
        run.timings,
    )
