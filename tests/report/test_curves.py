"""The pictures: reproducible, one style per arm, and never two units on one axis."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from report.synthetic import synthetic_run
from swarmproof.records.run import Run
from swarmproof.report import curves
from swarmproof.report.palette import arm_styles


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
    empty = Run(
        run.path, {**run.summary, "arms": {}}, run.config, run.rounds, run.completions, run.timings
    )
    with pytest.raises(ValueError, match="nothing to draw yet"):
        curves.svg(empty)


LENGTH = {"name": "length"}
MATRIX = {"no-attack": (0.0, 0.8, 0.0), "attack": (0.9, 0.8, 0.0), "length-attack": (0.5, 0.8, 0.0)}


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Run:
    path = tmp_path_factory.mktemp("matrix") / "run"
    return synthetic_run(
        path, num_rounds=12, seeds=(0, 1), arms=MATRIX, attacks={"length-attack": LENGTH}
    )


def test_shares_and_ratios_are_drawn_in_panels_of_their_own(matrix: Run, tmp_path: Path) -> None:
    shares, ratios, *rest = curves.figure(matrix).axes
    titles = [axes.get_title(loc="left") for axes in (shares, ratios, *rest)]
    assert titles == [
        "Attack success", "Mean length over the first, ×", "Accuracy", "Mean length, tokens",
    ]  # fmt: skip
    assert [len(axes.lines) for axes in (shares, ratios, *rest)] == [2, 1, 3, 3]
    ratio = matrix.summary["arms"]["length-attack"]["asr"]["by_iteration"]
    assert np.asarray(ratios.lines[0].get_ydata()).tolist() == pytest.approx(ratio, abs=1e-5)
    assert shares.get_ylim() == (0, 1)
    panel = curves.Panel("asr", "asr", "Fig. 1")
    assert [each.unit for each in curves.split([panel], matrix.summary["arms"])] == [
        "share", "ratio",
    ]  # fmt: skip
    png, svg = curves.draw_panel(matrix, panel, tmp_path / "fig1")
    assert png.stat().st_size > 0
    assert svg.stat().st_size > 0


def test_every_line_has_the_colour_dash_and_marker_of_its_arm(run: Run) -> None:
    for axes in curves.figure(run).axes:
        for line, style in zip(axes.lines, arm_styles(run.summary["arms"]).values(), strict=True):
            assert (line.get_color(), line.get_marker()) == (style.colour, style.marker)
            assert line.is_dashed() is bool(style.dash)


def test_an_unfinished_run_is_drawn_up_to_its_planned_end_and_labelled(tmp_path: Path) -> None:
    run = synthetic_run(tmp_path / "run", num_rounds=5, planned=80, seeds=(0,))
    axes = curves.figure(run).axes[0]
    assert axes.get_xlim() == (1, 80)
    assert all(text.get_text().endswith("(unfinished)") for text in axes.texts)
    assert len(axes.texts) == 3


def test_no_band_of_a_length_reaches_below_zero(tmp_path: Path) -> None:
    run = synthetic_run(tmp_path / "run", num_rounds=3, seeds=(0, 1))
    rounds = run.rounds.assign(length=run.rounds["seed"] * 40.0 + 1)
    axes = curves.figure(replace(run, rounds=rounds)).axes[2]
    (path,) = axes.collections[0].get_paths()
    assert np.asarray(path.vertices)[:, 1].min() == 0


def test_the_pages_panels_have_a_title_for_every_iteration(matrix: Run) -> None:
    panels = curves.panel_svgs(matrix)
    assert len(panels) == 5
    asr = matrix.summary["arms"]["attack"]["asr"]["by_iteration"]
    assert panels[0].count("<title>") == 12
    assert (
        f"<title>iteration 12\nno-attack: 0.0 %\nattack: {100 * asr[11]:.1f} %</title>" in panels[0]
    )
    ratio = matrix.summary["arms"]["length-attack"]["asr"]["by_iteration"]
    assert f"<title>iteration 12\nlength-attack: {ratio[11]:.2f}</title>" in panels[1]


def test_names_are_escaped_in_titles(matrix: Run) -> None:
    rounds = matrix.rounds.replace({"arm": {"attack": "<b>&"}})
    summary = matrix.summary | {"arms": {"<b>&": matrix.summary["arms"]["attack"]}}
    config = matrix.config | {"arms": {"<b>&": matrix.config["arms"]["attack"]}}
    (panel, *_) = curves.panel_svgs(replace(matrix, rounds=rounds, summary=summary, config=config))
    assert "&lt;b&gt;&amp;: " in panel
    assert "<b>" not in panel
