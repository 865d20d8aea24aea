"""The threshold keeps its promise, and the command prints what can be pasted."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import save_random_qwen2
from swarmproof import registry
from swarmproof.config import ExperimentConfig, TrialConfig
from swarmproof.defenses import Defense, Replay
from swarmproof.guard.guard import Guard
from swarmproof.measure import honest
from swarmproof.measure.calibrate import (
    Drawn,
    calibrate,
    find,
    first_half,
    threshold_for,
    toml_line,
)
from swarmproof.policies import DrawEngine
from swarmproof.policies.generator import PackedGenerator
from swarmproof.policies.policy import load
from swarmproof.records.folder import RunFolder
from swarmproof.records.streams import read_completions
from swarmproof.records.summary import wilson_interval
from swarmproof.swarm.trial import Trial, run_trial
from swarms import Letters, trial_config


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.5])
def test_new_honest_completions_are_refused_no_more_often_than_was_asked(rate: float) -> None:
    rng = np.random.default_rng(0)
    refused = []
    for _ in range(2000):
        scores = rng.exponential(size=101)
        refused.append(scores[-1] > threshold_for(scores[:-1].tolist(), rate))
    error = 3 * (rate * (1 - rate) / 2000) ** 0.5
    assert np.mean(refused) <= rate + error
    assert np.mean(refused) >= rate - 1 / 100 - error, "and hardly less"


def test_the_threshold_is_one_of_the_scores_and_ties_pass() -> None:
    assert threshold_for([1.0, 2.0, 3.0], 0.25) == 3.0
    assert threshold_for([0.0] * 99, 0.01) == 0.0
    assert threshold_for([float(i) for i in range(1, 50)], 0.02) == 49.0
    with pytest.raises(ValueError, match=r"48 completions are too few.*it takes 49 in each half"):
        threshold_for([0.0] * 48, 0.02)


def test_completions_of_a_problem_are_in_the_same_half() -> None:
    assert first_half(["a", "a", "b", "c", "b"]) == {"a", "c"}


def test_an_arm_needs_a_defence_with_a_threshold_that_is_used(random_model: Path) -> None:
    with pytest.raises(ValueError, match="the arm 'x' has no defence with a threshold"):
        find(trial_config(random_model, defenses=[{"name": "max_tokens"}]), "x")
    with pytest.raises(ValueError, match=r"'x'.*decides by a sampled word.*set decision"):
        find(trial_config(random_model, defenses=[{"name": "judge", "decision": "sampled"}]), "x")
    for place, without in enumerate(([], [{"name": "max_tokens"}])):
        defenses = [*without, {"name": "judge"}, {"name": "logit"}]
        found, defense = find(trial_config(random_model, defenses=defenses), "x")
        assert (found, defense.name) == (place, "judge"), "the first that has one"


def test_what_is_printed_is_toml() -> None:
    defenses: list[dict[str, Any]] = [
        {"name": "logit"},
        {"name": "judge", "model": {"name": "local", "path": 'a "b"'}, "threshold": -1.25},
    ]
    assert tomllib.loads(toml_line(defenses)) == {"defenses": defenses}


def test_a_judge_is_calibrated_on_what_is_drawn_and_on_what_was_recorded(tmp_path: Path) -> None:
    model = save_random_qwen2(tmp_path / "model", seed=1, hidden=32, judge=True)
    table = {
        "name": "judge",
        "model": {"name": "local", "path": str(model)},
        "prompt": "tiny",
        "threshold": 3.0,
    }
    trial = trial_config(
        model, swarm={"malicious": 0}, batch={"problems": 8, "group_size": 8}, defenses=[table]
    )
    found = calibrate(trial, "judge", rate=0.2, completions=40, seed=0)
    assert found == calibrate(trial, "judge", rate=0.2, completions=40, seed=0)
    scores = found["scores"]
    assert found["chosen_on"] == len(scores["chosen_on"])
    assert found["threshold"] == threshold_for(scores["chosen_on"], 0.2)
    assert found["defenses"] == [table | {"threshold": found["threshold"]}]
    tested = found["false_rejections"]
    assert tested["of"] == len(scores["tested_on"])
    assert tested["count"] == sum(s > found["threshold"] for s in scores["tested_on"])
    assert tested["ci95"][0] < tested["ci95"][1]

    folder = RunFolder.create(
        tmp_path / "run", ExperimentConfig(name="e", arms={"no-attack": trial}), resume=False
    )
    run_trial(Trial("e", "no-attack", 0, trial, folder.trial_folder("no-attack", 0)), resume=False)
    folder.close()
    again = calibrate(trial, "judge", rate=0.3, completions=40, seed=0, run=tmp_path / "run")
    assert again["from"] == {"run": "run", "arm": "no-attack"}
    assert again["chosen_on"] > 2
    with pytest.raises(ValueError, match="has no arm 'x'"):
        calibrate(
            trial, "judge", rate=0.3, completions=4, seed=0, run=tmp_path / "run", run_arm="x"
        )


def test_a_completion_that_several_models_received_counts_once(
    random_model: Path, other_model: Path, tmp_path: Path
) -> None:
    swarm = {"nodes": 4, "malicious": 0, "models": [str(random_model), str(other_model)]}
    trial = trial_config(random_model, swarm=swarm, batch={"problems": 8, "group_size": 8})
    arms = {"no-attack": trial}
    folder = RunFolder.create(tmp_path / "run", ExperimentConfig(name="e", arms=arms), resume=False)
    place = folder.trial_folder("no-attack", 0)
    run_trial(Trial("e", "no-attack", 0, trial, place), resume=False)
    folder.close()
    _, pairs = honest.recorded(tmp_path / "run", "no-attack", 10**6)
    rows = [row for row in read_completions(place) if row["reward"]]
    assert len({row["cohort"] for row in rows}) == 2
    sent = {(row["round"], row["problem_id"], row["index"], row["node"]) for row in rows}
    assert len(pairs) == len(sent) < len(rows)


COMPLETIONS = 192  # three rounds of 8 x 8


def trial_of(model: Path, table: dict[str, Any], **more: Any) -> TrialConfig:
    return trial_config(
        model,
        **more,
        swarm={"malicious": 0},
        batch={"problems": 8, "group_size": 8},
        sampling={"max_new_tokens": 12, "top_k": 20},
        defenses=[{"name": "max_tokens", "limit": 4096}, table],
    )


def refusals_of(trial: TrialConfig, table: dict[str, Any], seed: int) -> list[tuple[str, bool]]:
    """Whether a guard with this defence alone refuses each completion of honest rounds."""
    policy, task = load(trial.model, trial.sampling), Letters()
    guard = Guard([table], model=policy, sampling=trial.sampling, seed=seed)
    rounds = honest.rounds(
        policy, task, task.problems("train"), trial.swarm, trial.batch, count=COMPLETIONS, seed=seed
    )
    return [
        (group.problem.id, verdict.accepted is False)
        for round, groups in enumerate(rounds)
        for group, row in zip(
            groups,
            guard(groups, [[0.0] * 8 for _ in groups], round).verdicts,
            strict=True,
        )
        for (verdict,) in row
    ]


@pytest.mark.parametrize(
    ("table", "field"),
    [
        ({"name": "logit"}, "tolerance"),
        ({"name": "surprise"}, "margin"),
        ({"name": "self_judge"}, "threshold"),
    ],
    ids=["logit", "surprise", "self_judge"],
)
def test_what_scores_whole_rounds_is_calibrated_on_all_their_completions(
    random_model: Path, table: dict[str, Any], field: str
) -> None:
    """Right or wrong, under the model that drew them; and a guard then refuses what was told."""
    trial = trial_of(random_model, table)
    found = calibrate(trial, "x", rate=0.1, completions=COMPLETIONS, seed=5)
    assert (found["defense"], found["chosen_on"]) == (table["name"], COMPLETIONS // 2)
    scores = found["scores"]
    assert found["threshold"] == threshold_for(scores["chosen_on"], 0.1)
    assert found["defenses"][0] == trial.defenses[0]
    assert found["defenses"][1] == table | {field: found["threshold"]}
    assert tomllib.loads(toml_line(found["defenses"])) == {"defenses": found["defenses"]}

    refused = refusals_of(trial, found["defenses"][1], seed=5)
    first = first_half([problem for problem, _ in refused])
    of_half = [
        sum(is_refused for problem, is_refused in refused if (problem in first) is half)
        for half in (True, False)
    ]
    tested = found["false_rejections"]
    assert (tested["of"], tested["count"]) == (COMPLETIONS // 2, of_half[1])
    assert of_half[0] == sum(s > found["threshold"] for s in scores["chosen_on"]) <= 8
    if table["name"] == "logit":
        # The policy cannot draw what is outside its own support.
        assert 0 <= found["threshold"] < 1e-3
    else:
        # Scores differ, and a stricter rate gives a higher threshold.
        assert of_half[0] == 8
        strict = calibrate(trial, "x", rate=0.02, completions=COMPLETIONS, seed=5)
        assert strict["threshold"] > found["threshold"]
    # A run does not record the model of each moment.
    with pytest.raises(ValueError, match="leave out --run") as caught:
        calibrate(trial, "x", rate=0.1, completions=8, seed=0, run=Path("runs/any"))
    assert "\n" not in str(caught.value)


def test_a_defence_of_foreign_text_is_tested_on_what_it_would_refuse(random_model: Path) -> None:
    """`kl_gate` abstains from the model's own text, which sets its threshold."""
    trial = trial_of(random_model, {"name": "kl_gate"})
    found = calibrate(trial, "x", rate=0.1, completions=COMPLETIONS, seed=5)
    above = sum(score > found["threshold"] for score in found["scores"]["tested_on"])
    assert found["false_rejections"]["count"] == above > 0


def test_a_length_is_no_score_that_honest_completions_can_set(random_model: Path) -> None:
    trial = trial_of(random_model, {"name": "reward_outlier"})
    alone = trial.model_copy(update={"defenses": trial.defenses[:1]})
    with pytest.raises(ValueError, match=r"'x' has no defence with a threshold.*max_tokens") as no:
        calibrate(alone, "x", rate=0.1, completions=COMPLETIONS, seed=0)
    assert "\n" not in str(no.value)


def test_a_threshold_that_the_field_forbids_is_told_in_one_line(tmp_path: Path) -> None:
    """Where no reward is right, no honest score is above 0, and `threshold` must be."""
    model = save_random_qwen2(tmp_path / "model", seed=1, hidden=32)
    trial = trial_of(model, {"name": "reward_outlier"})
    with pytest.raises(
        ValueError, match=r"'reward_outlier' end at 0, which its threshold may not be; keep"
    ) as caught:
        calibrate(trial, "x", rate=0.5, completions=COMPLETIONS, seed=0)
    assert "\n" not in str(caught.value)


class Rounded(DrawEngine):
    """Draws with weights that have 16 bits less, of numbers that are `larger` by this share."""

    larger: float = 0.0

    def start(self, model: Any, codec: Any, sampling: Any, room: int | None) -> Any:
        other = copy.deepcopy(model)
        for weight in other.parameters():
            weight.data.mul_(1 + self.larger)
        return PackedGenerator(other.bfloat16(), codec, sampling, room)


@pytest.fixture
def rounded() -> Iterator[None]:
    registry.register("generator", "rounded")(Rounded)
    yield
    registry._registered["generator"].pop("rounded")


@pytest.mark.usefixtures("rounded")
def test_what_is_calibrated_is_drawn_as_in_a_run(random_model: Path) -> None:
    """The tolerance of `replay` is about the generator that draws."""
    table = {"name": "replay"}
    exact, rounded = (
        calibrate(trial, "x", rate=0.1, completions=COMPLETIONS, seed=5)["scores"]["chosen_on"]
        for trial in (
            trial_of(random_model, table),
            trial_of(random_model, table, generator={"name": "rounded"}),
        )
    )
    assert max(exact) == 0
    assert max(rounded) > 1e-3


@pytest.mark.usefixtures("rounded")
def test_replay_learns_how_often_an_honest_token_loses_its_draw(random_model: Path) -> None:
    """With the table that is printed, a guard refuses the honest completions that were told."""
    table = {"name": "replay", "ties": 0}
    trial = trial_of(random_model, table, generator={"name": "rounded", "larger": 0.1})
    found = calibrate(trial, "x", rate=0.1, completions=COMPLETIONS, seed=5)
    _, printed = found["defenses"]
    assert printed.keys() == {"name", "ties", "tolerance", "flips"}

    drawn = Drawn.of(trial, COMPLETIONS, seed=5)
    margins = [
        (group.problem.id, margin)
        for groups in drawn.rounds
        for group in groups
        for margin in drawn.policy.scorer.score(
            [group.prompt], [group.token_ids], [group.slot_seeds], ["margin"]
        ).column("margin")[0]
    ]
    first = first_half([problem for problem, _ in margins])
    counted = np.concatenate(
        [m for of, m in margins if of in first and m.max() <= printed["tolerance"]]
    )
    ends = wilson_interval(int((counted > 0).sum()), len(counted))
    assert ends is not None
    assert printed["flips"] == ends[1] > 0.002

    verdicts = drawn.verdicts(registry.build(Defense, printed))
    told = found["false_rejections"]
    assert told["count"] == sum(v.accepted is False for of, v in verdicts if of not in first)
    assert told["of"] == COMPLETIONS // 2
    as_shipped = drawn.verdicts(Replay(tolerance=printed["tolerance"], ties=0))
    assert sum(v.accepted is False for _, v in as_shipped) > told["count"]
