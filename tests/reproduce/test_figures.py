"""The shipped figures: all of the paper's, at both scales, with every key resolved."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from swarmproof import registry
from swarmproof.attacks import Attack
from swarmproof.config import load
from swarmproof.engines import capacity
from swarmproof.reproduce import command, estimate, figures, measured, runner, timing
from swarmproof.reproduce.figures import Acceptance, Curves, LeftOut, Scale
from swarmproof.swarm import needs
from swarmproof.zoo import added

PAPER = (
    *("3a", "3b", "3c", "3d", "4a", "4b", "5a", "5b", "6", "7", "8", "9", "10a", "10b", "10c"),
    *("10d", "11a", "11b", "11c", "12", "13", "14a", "14b", "14c", "14d", "15", "16"),
)
BOTH = [(name, scale) for scale in figures.SCALES for name in figures.names(scale)]


@pytest.mark.parametrize("scale", figures.SCALES)
def test_every_figure_of_the_paper_is_there(scale: Scale) -> None:
    assert figures.names(scale) == [*(f"fig{number}" for number in PAPER), "table1"]


@pytest.mark.parametrize(("name", "scale"), BOTH)
def test_a_figure_resolves_and_its_criteria_are_about_its_curves(name: str, scale: Scale) -> None:
    figure = figures.read(name, scale)
    if isinstance(figure, LeftOut):
        assert scale != "paper"
        return
    assert figure.criteria
    if isinstance(figure, Acceptance):
        assert figure.metric in {f"{j} {v}" for j in figure.evaluations() for v in figure.variants}
    if isinstance(figure, Curves):
        arms = figure.arms()
        for criterion in figure.criteria:
            assert set(criterion.names) <= set(arms), criterion.text
        for arm in arms.values():
            folder = {"tiny": "", "small": "small/", "paper": "paper-scale/"}[scale]
            assert arm.experiment.rpartition("/")[0] == folder.rstrip("/")
            attack = registry.build(Attack, arm.trial.attack)
            assert arm.trial.swarm.topology in attack.topologies


def test_a_matrix_makes_a_curve_of_every_value() -> None:
    figure: Any = figures.read("fig12", "tiny")
    arms = figure.arms()
    limits = {name: arm.trial.sampling.max_new_tokens for name, arm in arms.items()}
    assert limits == {"attack-128": 128, "attack-160": 160, "attack-192": 192}
    # The swept setting overrides the experiment. Its original value gives the same trial.
    assert arms["attack-128"].trial == load("length-vertical").arms["attack"]


def test_trials_are_shared_between_figures() -> None:
    def trials(*wanted: str) -> int:
        return len(runner.plan(command.choose(wanted, "tiny"), (0, 1), ()).trials)

    assert trials("fig3a") == trials("fig3a", "fig14a") == 8
    assert trials("fig3d", "fig6", "fig14d", "fig15") == 8
    assert trials("fig3d", "fig4b") == 8 + 6


def test_the_larger_model_of_the_small_scale_shares_its_trials() -> None:
    """Figs. 3 and 10, 14 and 15 of the small scale are the same runs of SmolLM2."""

    def trials(*wanted: str) -> int:
        return len(runner.plan(command.choose(wanted, "small"), (0,), ()).trials)

    assert trials("fig3a", "fig10a", "fig14a") == 4
    assert trials("fig3d", "fig6", "fig10d", "fig14d", "fig15") == 4
    assert trials("fig3d", "fig13") == 4 + 1
    paths = {
        need.arm.trial.model.path
        for need in runner.plan(command.choose(["all"], "small"), (0,)).trials.values()
    }
    assert paths == {"smollm2-135m"}


@pytest.mark.parametrize(
    ("wanted", "scale", "words"),
    [
        (
            ["fig3x"],
            "tiny",
            r"'fig3x'; did you mean 'fig3.'\? \(known: all, fig3a, fig3b.*table1\)",
        ),
        (["fig3a"], "big", r"--scale 'big'.*known: tiny, small, paper"),
        (["fig10a"], "tiny", "no larger one; --scale small and paper have this figure"),
        (["fig3c"], "small", "135M parameters writes too few right programs"),
    ],
)
def test_an_unknown_figure_lists_the_known_ones(wanted: list[str], scale: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        command.choose(wanted, scale)
    assert "\n" not in str(caught.value)


def test_all_leaves_out_what_the_scale_does_not_have() -> None:
    chosen = command.choose(["all", "fig3a"], "tiny")
    assert [figure.name for figure in chosen] == figures.names("tiny")


def test_a_dry_run_tells_what_the_papers_scale_takes() -> None:
    plan = runner.plan(command.choose(["fig3a", "fig14a", "table1"], "paper"), (0,), ())
    lines = list(command.dry_run(plan))
    assert lines[1:3] == [
        "  trials: 4",
        "  fetches: model Qwen/Qwen2.5-1.5B, data openai/gsm8k, model Qwen/Qwen2.5-14B-Instruct",
    ]
    assert "  trials: 4, 4 shared with those above" in lines
    assert any("Qwen/Qwen2.5-32B-Instruct" in line for line in lines)
    assert any(line.startswith("4 trials in total, ") for line in lines)


def test_an_estimate_is_its_formula() -> None:
    config = load("paper-scale/text-horizontal").arms["no-attack"]
    found = estimate.of_trial(config)
    counted = needs.of_trial(config)
    assert counted is not None
    assert found.memory_gb == pytest.approx(counted.peak / 1e9)
    # 100 rounds of 384 completions, and 128 held-out ones in every tenth and in the last round.
    written, learnt = (38_400 + 11 * 128) * 0.3 * 1024, 38_400 * 0.3 * 1024
    seconds = 2 * 1.54e9 * written / (989e12 * 0.05) + 8 * 1.54e9 * learnt / (989e12 * 0.35)
    assert found.hours == pytest.approx(seconds / 3600)
    # The judge is loaded, too.
    judge = estimate.of_trial(load("paper-scale/text-horizontal").arms["judge"])
    assert judge.memory_gb == pytest.approx((found.memory_gb or 0) + 2 * 14.8)


def test_a_trial_on_this_machine_is_its_flops_over_the_rate() -> None:
    config = load("small/text-horizontal").arms["no-attack"]
    # 30 rounds of 128 completions, and 4 of 128 held-out ones, of 52 tokens.
    generating = 2 * 134_515_008 * (30 + 4) * 128 * 0.65 * 80
    learning = 6 * 134_515_008 * 30 * 128 * 0.65 * 80
    expected = (generating / 0.36 + learning / 0.56) / 100e9
    assert estimate.cpu_seconds(config, 100e9) == pytest.approx(expected)
    # Products in tiles are fast, and the rest of a pass is not: a smaller share of their rate.
    expected = (generating / 0.14 + learning / 0.17) / 100e9
    assert estimate.cpu_seconds(config, 100e9, tiles=True) == pytest.approx(expected)
    assert estimate.of_trial(config).hours is None
    assert estimate.cpu_seconds(load("paper-scale/text-horizontal").arms["attack"], 1e9) is None


@pytest.mark.parametrize(("rounds", "evaluations"), [(1, 1), (2, 2), (11, 2), (12, 3)])
def test_the_first_and_the_last_round_are_evaluated(rounds: int, evaluations: int) -> None:
    def generating(problems: int) -> float:
        changes = [f"rounds={rounds}", f"evaluation.problems={problems}"]
        config = load("small/text-horizontal", overrides=changes).arms["no-attack"]
        return estimate.cpu_seconds(config, 1.0) or 0

    each = 2 * 134_515_008 * 0.65 * 80 / 0.36
    assert generating(65) - generating(64) == pytest.approx(evaluations * each, rel=1e-6)


def test_a_warm_up_counts_once_for_all_figures_arms_and_seeds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(timing, "matmul_rate", lambda _: 100e9)
    monkeypatch.setattr(capacity, "has_tiles", lambda: False)
    monkeypatch.setattr(command, "_minutes", lambda seconds: f"{seconds:.3f} s")

    def seconds(*changes: str) -> list[float]:
        plan = runner.plan(command.choose(["fig3a", "fig3b"], "small"), (0, 1), changes)
        told = "\n".join(command.dry_run(plan, timing.Timing(), jobs=1))
        return [float(found) for found in re.findall(r"(\d+\.\d+) s[ ,]", told)]

    each, without = seconds(), seconds("warmup.steps=0")
    # 40 steps of 8 examples, of 64 and 52 tokens.
    warm = 6 * 134_515_008 * 320 * (64 + 0.65 * 80) / (100e9 * 0.56)
    more = [mine - other for mine, other in zip(each, without, strict=True)]
    assert more == pytest.approx([warm, 0, warm], abs=0.01)


def test_a_dry_run_of_the_small_scale_runs_nothing_and_tells_hours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The model need not be there."""
    monkeypatch.setenv("SWARMPROOF_MODELS", str(tmp_path))
    monkeypatch.setattr(timing, "measure", lambda config: pytest.fail(f"it ran {config}"))
    plan = runner.plan(command.choose(["all"], "small"), (0,))
    lines = list(command.dry_run(plan, timing.Timing(), jobs=2))
    assert any(line.startswith("  memory: up to ") for line in lines)
    assert "h " in lines[-1]
    assert "by FLOPs over the rate of matrix products" in lines[-1]
    assert not list(tmp_path.iterdir())


def test_a_known_model_that_was_not_added_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWARMPROOF_MODELS", str(tmp_path))
    plan = runner.plan(command.choose(["fig3a"], "small"), (0,))
    first = "  first: swarmproof zoo add smollm2-135m"
    assert list(command.dry_run(plan, timing.Timing(), jobs=2)).count(first) == 1
    (tmp_path / "smollm2-135m").mkdir()
    card = tmp_path / "smollm2-135m" / added.CARD
    card.write_text('{"source": "a", "weights": "b", "licence": "c"}')
    assert first not in command.dry_run(plan, timing.Timing(), jobs=2)
    for text in ("[]", "{}", "null", "{"):
        card.write_text(text)
        with pytest.raises(ValueError, match=r"swarmproof\.json.*add the model again"):
            list(command.dry_run(plan, timing.Timing(), jobs=2))


def test_a_zoo_model_needs_no_gpu_and_fetches_nothing() -> None:
    arms = load("text-horizontal").arms.values()
    assert estimate.fetches(arms) == []
    assert {estimate.of_trial(arm) for arm in arms} == {estimate.Cost(None, None)}


def test_a_local_folder_is_not_told_as_a_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arm = load("text-horizontal", overrides=["model.path=models/mine"]).arms["no-attack"]
    assert estimate.fetches([arm]) == ["model models/mine"]
    (tmp_path / "models/mine").mkdir(parents=True)
    assert estimate.fetches([arm]) == []


def test_a_judges_table_is_read_by_judge_and_variant() -> None:
    row = {"count": 1, "of": 4, "rate": 0.25, "ci95": [0.05, 0.7]}
    found = {"14B": {"accepted": {"MATH": {"sampled": row}, "TEXT": {"sampled": row}}}}
    table = measured.of_judges(found | {"7B": {"accepted": {"MATH": {"sampled": row}}}})
    assert list(table) == ["MATH", "TEXT"]
    assert list(table["MATH"]) == ["14B sampled", "7B sampled"]
    assert table["MATH"]["7B sampled"]["final"] == 0.25
