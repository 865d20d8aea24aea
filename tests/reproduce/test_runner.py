"""Shared trials are run once and stored; finished figures become pictures and numbers."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from models import save_random_qwen2
from swarmproof import registry, steps
from swarmproof.cli.reproducing import reproduce
from swarmproof.config import ExperimentConfig, ModelConfig
from swarmproof.engines.events import Finished
from swarmproof.measure import judge_eval
from swarmproof.measure.judge_eval import JudgeEval, Side
from swarmproof.records.folder import RunFolder
from swarmproof.records.run import load_run
from swarmproof.records.streams import COMPLETIONS, ROUNDS
from swarmproof.reproduce import command, figures, runner
from swarmproof.reproduce.figures import Acceptance
from swarmproof.reproduce.page import outcomes
from swarmproof.reproduce.runner import Plan
from swarmproof.reproduce.store import Store, key
from swarmproof.swarm import identity
from swarmproof.swarm.checkpoint import CHECKPOINT
from swarmproof.swarm.identity import FINGERPRINTS
from swarmproof.swarm.trial import Trial, run_trial
from swarmproof.tasks import Task
from swarms import trial_config


def plan_of(model: Path, *names: str, seeds: tuple[int, ...] = (0,), rounds: int = 2) -> Plan:
    """Figures of the tiny scale, with a random model and very little work."""
    return runner.plan(command.choose(names, "tiny"), seeds, overrides(model, rounds))


def overrides(model: Path, rounds: int) -> list[str]:
    return [
        f"model.path={model}",
        "task.train=64",
        "task.test=64",
        f"rounds={rounds}",
        "batch.problems=4",
        "batch.group_size=4",
        "sampling.max_new_tokens=16",
        "evaluation.problems=2",
        "checkpoint_every=1",
    ]


def run(plan: Plan, store: Store) -> list[Trial]:
    """Run the missing trials, as an engine does."""
    trials = runner.missing(plan, store)
    on_event = runner.keeper(plan, store, lambda _: None)
    for trial in trials:
        run_trial(trial, resume=True)
        on_event(Finished(trial))
    return trials


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("reproduce")) as opened:
        yield opened


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "fresh") as opened:
        yield opened


def test_a_key_is_what_a_trial_is(random_model: Path) -> None:
    config = trial_config(random_model)
    assert key(config, 0) == key(config.model_copy(), 0) != key(config, 1)
    assert key(config, 0) != key(trial_config(random_model, grpo={"lr": 2e-3}), 0)
    assert key(config, 0) == key(type(config).model_validate_json(config.model_dump_json()), 0)


def test_figures_that_share_trials_run_them_once_and_keep_them(
    random_model: Path, store: Store
) -> None:
    first = run(plan_of(random_model, "fig16"), store)
    assert [trial.arm for trial in first] == [
        "fig16 no-attack",
        "fig16 attack",
        "fig16 logit",
        "fig16 judge",
    ]
    before = {t.folder: (t.folder / ROUNDS).stat().st_mtime_ns for t in first}
    both = plan_of(random_model, "fig16", "fig16", seeds=(0, 1))
    second = run(both, store)
    assert [trial.seed for trial in second] == [1, 1, 1, 1]
    assert {f: (f / ROUNDS).stat().st_mtime_ns for f in before} == before
    assert runner.missing(both, store) == []
    # A finished trial needs no checkpoint, so it is deleted.
    assert not list(store.root.rglob(CHECKPOINT))
    index = (store.root / "index.txt").read_text().splitlines()
    assert len(index) == 8
    assert all(line.endswith("finished") and "text-every-sentence/" in line for line in index)


def test_a_complete_figure_is_a_run_folder_with_pictures_and_numbers(
    random_model: Path, store: Store, tmp_path: Path
) -> None:
    plan = plan_of(random_model, "fig16", seeds=(0, 1))
    run(plan, store)
    folder = store.root / "tiny/fig16"
    assert (folder / "fig16.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (folder / "fig16.svg").read_text()
    table = load_run(folder)
    assert sorted(set(table.rounds["arm"])) == ["attack", "judge", "logit", "no-attack"]
    assert set(table.rounds["seed"]) == {0, 1}
    assert len(table.completions) > 0

    found = command.finish(plan, store, tmp_path)["fig16"]
    assert json.loads((tmp_path / "tiny/fig16.json").read_text()) == found
    assert found["trials"] == plan.keys("fig16")
    assert found["measured"]["attack"]["asr"]["final"] == 0
    assert found["by_iteration"]["attack"] == [0, 0]
    assert len(found["versions"]) == 1


def test_a_figure_is_drawn_after_the_last_of_its_trials(random_model: Path, fresh: Store) -> None:
    plan = plan_of(random_model, "fig16")
    trials = runner.missing(plan, fresh)
    on_event = runner.keeper(plan, fresh, lambda _: None)
    for trial in trials:
        assert not (fresh.root / "tiny").exists()
        run_trial(trial, resume=True)
        on_event(Finished(trial))
    assert (fresh.root / "tiny/fig16/fig16.svg").exists()


def test_theory_is_drawn_without_any_trial_and_agrees_with_the_paper(fresh: Store) -> None:
    plan = runner.plan(command.choose(["fig7", "fig8"], "tiny"), (0,))
    assert runner.missing(plan, fresh) == []
    found = command.finish(plan, fresh, None)
    for figure in plan.figures:
        assert (fresh.root / "tiny" / figure.name / f"{figure.name}.svg").exists()
        assert all(each.agrees for each in outcomes(figure, found[figure.name]))


class Interrupted(BaseException):
    """An interruption between two rounds."""


def test_an_interrupted_trial_goes_on_and_gives_the_same_bytes(
    random_model: Path, store: Store, fresh: Store
) -> None:
    plan = plan_of(random_model, "fig16", rounds=4)
    (trial, *_) = run(plan, store)

    def stop(record: Any, _: float) -> None:
        if record.round == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        run_trial(runner.missing(plan, fresh)[0], resume=True, on_round=stop)
    assert not fresh.finished(trial.folder.name)
    assert len(run(plan, fresh)) == 4
    for stream in (ROUNDS, COMPLETIONS):
        data = (fresh.folder(trial.folder.name) / stream).read_bytes()
        assert data == (trial.folder / stream).read_bytes()


def test_finished_trials_of_a_run_are_taken_over_and_no_others(
    random_model: Path, fresh: Store, tmp_path: Path
) -> None:
    plan = plan_of(random_model, "fig16")
    arms = {curve: arm.trial for curve, arm in plan.arms["fig16"].items()}
    other = arms["logit"].model_copy(update={"rounds": 1})
    config = ExperimentConfig(name="mine", seeds=(0,), arms={**arms, "other": other})
    folder = RunFolder.create(tmp_path / "run", config, resume=False)

    def stop(*_: object) -> None:
        raise Interrupted

    for arm in ("attack", "other"):
        mine = Trial("mine", arm, 0, config.arms[arm], folder.trial_folder(arm, 0))
        run_trial(mine, resume=False)
    half = Trial("mine", "logit", 0, config.arms["logit"], folder.trial_folder("logit", 0))
    with pytest.raises(Interrupted):
        run_trial(half, resume=False, on_round=stop)
    folder.close()

    assert fresh.take(folder.path, plan.configs) == [key(arms["attack"], 0)]
    assert fresh.take(folder.path, plan.configs) == []
    taken = fresh.folder(key(arms["attack"], 0))
    for stream in (ROUNDS, COMPLETIONS):
        source = folder.trial_folder("attack", 0) / stream
        assert (taken / stream).read_bytes() == source.read_bytes()
    assert [trial.arm for trial in run(plan, fresh)] == [
        "fig16 no-attack",
        "fig16 logit",
        "fig16 judge",
    ]


def test_a_trial_of_another_model_of_the_same_name_is_not_used(
    random_model: Path, fresh: Store, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(random_model, model)
    plan = plan_of(model, "fig16")
    run(plan, fresh)
    assert runner.missing(plan, fresh) == []
    arms = {curve: arm.trial for curve, arm in plan.arms["fig16"].items()}
    folder = RunFolder.create(
        tmp_path / "run", ExperimentConfig(name="mine", seeds=(0,), arms=arms), resume=False
    )
    mine = folder.trial_folder("attack", 0)
    run_trial(Trial("mine", "attack", 0, arms["attack"], mine), resume=False)
    folder.close()

    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.01}))
    words = f"the model at '{re.escape(str(model))}' changed since .*"
    with pytest.raises(ValueError, match=f"{words} --out"):
        runner.missing(plan, fresh)
    with Store(tmp_path / "empty") as empty:
        with pytest.raises(ValueError, match=f"1 of 1 trials .*{words} --from"):
            empty.take(folder.path, plan.configs)
        assert len(runner.missing(plan, empty)) == len(plan.trials)  # nothing was taken


def test_a_trial_that_does_not_say_its_model_is_not_used(random_model: Path, fresh: Store) -> None:
    plan = plan_of(random_model, "fig16")
    need = run(plan, fresh)[0]
    (need.folder / FINGERPRINTS).unlink()
    with pytest.raises(ValueError, match=r"does not say which data and models.*delete that"):
        runner.missing(plan, fresh)


def test_a_warm_up_with_other_weights_is_told_before_any_trial_runs(
    random_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWARMPROOF_CACHE", str(tmp_path / "cache"))
    warm = [*overrides(random_model, rounds=1), "warmup={steps=1,batch=2,problems=8}"]
    plan = runner.plan(command.choose(["fig16"], "tiny"), (0,), warm)
    with Store(tmp_path / "store") as store:
        folders = [trial.folder for trial in run(plan, store)]
    for folder in folders:  # made on another machine, whose cache is not here
        prints = json.loads((folder / FINGERPRINTS).read_text())
        start = identity.warmed_at(str(random_model))
        assert start in prints
        (folder / FINGERPRINTS).write_text(json.dumps(prints | {start: "0" * 32}))
    shutil.rmtree(tmp_path / "cache")
    monkeypatch.setattr(steps, "run_trials", lambda *_, **__: pytest.fail("a trial ran"))
    with pytest.raises(ValueError, match=r"have different weights after the same warm-up"):
        reproduce(["fig16"], seeds="2", set_=warm, out=tmp_path / "store", jobs=0, quiet=True)
    assert (tmp_path / "cache").exists()


def test_a_judge_is_evaluated_anew_when_its_model_is_another(
    random_model: Path, fresh: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = shutil.copytree(random_model, tmp_path / "judge")
    side = Side(task={"name": "letters"}, model=ModelConfig(path=str(random_model)))
    settings = JudgeEval(math=side, code=side)
    (figure,) = (f for f in command.choose(["all"], "tiny") if isinstance(f, Acceptance))
    judges = {"mine": {"name": "local", "path": str(judge)}}
    figure = figure.model_copy(update={"judges": judges, "settings": settings})
    made: list[JudgeEval] = []

    def evaluate(of: JudgeEval, *_: Any, **__: Any) -> dict[str, Any]:
        made.append(of)
        return {"config": {}, "versions": {}, "accepted": {}}

    monkeypatch.setattr(judge_eval, "evaluate", evaluate)
    plan = runner.plan([figure], (0,))

    def evaluations() -> int:
        runner.finish(figure, plan, fresh)
        return len(made)

    def made_with() -> dict[str, str]:
        return judge_eval.fingerprints(made[-1])

    assert (evaluations(), evaluations()) == (1, 1)
    (file,) = (fresh.root / "judge-eval").glob("*.json")
    save_random_qwen2(judge, seed=9)
    assert (evaluations(), evaluations()) == (2, 2)
    table = json.loads(file.read_text())
    del table["models"]  # made before tables had them
    file.write_text(json.dumps(table))
    assert (evaluations(), evaluations()) == (3, 3)
    # A hub model that is not here yet is not asked for: the evaluation fetches it.
    file.write_text(json.dumps(table))
    with monkeypatch.context() as away:
        away.setattr(judge_eval, "fingerprints", lambda _: pytest.fail("before the evaluation"))
        assert not runner._is_current(file, made[-1])
    assert (evaluations(), evaluations()) == (4, 4)
    models = made_with()
    wrong: list[Any] = [[], {"models": models}, {**table, "models": models, "accepted": 3}]
    for damaged in wrong:
        file.write_text(json.dumps(damaged))
        with pytest.raises(ValueError, match=r"judge-eval.*is damaged: .*; delete it"):
            evaluations()


def test_an_evaluation_that_was_killed_goes_on_unless_it_is_to_start_anew(
    random_model: Path, fresh: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    side = Side(task={"name": "letters"}, model=ModelConfig(path=str(random_model)))
    settings = JudgeEval(math=side, code=side, completions=2, problems=4)
    (figure,) = (f for f in command.choose(["all"], "tiny") if isinstance(f, Acceptance))
    figure = figure.model_copy(update={"settings": settings, "variants": ("scored",)})
    (family, *_), task = judge_eval._ATTACKS, registry.build(Task, {"name": "letters"})
    pairs = [(problem, task.oracle(problem, 0)) for problem in task.problems("test")[:2]]
    drawn = {family: (task, pairs), "others": (task, pairs), "more": (task, pairs)}
    monkeypatch.setattr(judge_eval, "_families", lambda _: dict(drawn))
    plan = runner.plan([figure], (0,))
    told: list[str] = []

    def play(stop_at: int = 0) -> str:
        """The first line about a judgement."""
        told.clear()

        def tell(line: str) -> None:
            told.append(line)
            if len(told) == stop_at:
                raise KeyboardInterrupt

        with contextlib.suppress(KeyboardInterrupt):
            runner.finish(figure, plan, fresh, tell)
        return next(line for line in told if " of " in line)

    assert play(stop_at=4).startswith("1 of 3")
    (part,) = (fresh.root / "judge-eval").glob("*.part")
    # What belongs to other figures is left alone by --restart.
    runner.missing(runner.plan(command.choose(["fig7"], "tiny"), (0,)), fresh, resume=False)
    assert part.exists()
    assert play(stop_at=2).startswith("3 of 3")
    runner.missing(plan, fresh, resume=False)
    assert not part.exists()
    assert play().startswith("1 of 3")
    assert not part.exists()


def test_a_setting_that_changes_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="--set changes trials, and table1, fig7 needs none"):
        runner.plan(command.choose(["table1", "fig7"], "tiny"), (0,), ["nonsense.foo=1"])
    runner.plan(command.choose(["fig7", "fig16"], "tiny"), (0,), ["rounds=1"])


@pytest.mark.parametrize("lost", ["last line", "all lines", "rounds", "completions"])
def test_a_finished_trial_that_lost_something_is_in_no_figure(
    random_model: Path, store: Store, tmp_path: Path, lost: str
) -> None:
    """It was drawn with the rounds that were left, or its arm was missing, without a word."""
    plan = plan_of(random_model, "fig16")
    run(plan, store)
    root = shutil.copytree(store.root, tmp_path / "damaged", symlinks=True)
    (root / ".lock").unlink(missing_ok=True)
    trial = root / "trials" / plan.keys("fig16")["attack"][0]
    rounds = trial / ROUNDS
    lines = rounds.read_text().splitlines(keepends=True)
    match lost:
        case "last line":
            rounds.write_text("".join(lines[:-1]))
        case "all lines":
            rounds.write_text(lines[0])
        case "rounds":
            rounds.unlink()
        case "completions":
            file = trial / COMPLETIONS
            file.write_bytes(file.read_bytes()[:-20])
    with Store(root) as damaged:
        with pytest.raises(ValueError, match=rf"{trial} is damaged: .*; delete {trial} to run"):
            runner.missing(plan, damaged)
        shutil.rmtree(trial)
        assert [each.folder for each in runner.missing(plan, damaged)] == [trial]


def test_a_damaged_trial_of_another_run_is_not_taken_over(
    random_model: Path, store: Store, fresh: Store, tmp_path: Path
) -> None:
    plan = plan_of(random_model, "fig16")
    run(plan, store)
    folder = tmp_path / "run"
    name = plan.keys("fig16")["attack"][0]
    config = plan.configs[name]
    mine = ExperimentConfig(name="mine", seeds=(0,), arms={"attack": config})
    made = RunFolder.create(folder, mine, resume=False)
    trial = Trial("mine", "attack", 0, config, made.trial_folder("attack", 0))
    run_trial(trial, resume=False)
    made.close()
    whole = (trial.folder / COMPLETIONS).read_bytes()
    (trial.folder / COMPLETIONS).write_bytes(whole[:-20])
    with pytest.raises(ValueError, match="damaged"):
        fresh.take(folder, plan.configs)
    assert not fresh.finished(name)
    (trial.folder / COMPLETIONS).write_bytes(whole)
    assert fresh.take(folder, plan.configs) == [name]
    taken = fresh.folder(name) / COMPLETIONS
    taken.write_bytes(whole[:-20])
    with pytest.raises(ValueError, match=f"{COMPLETIONS} has .* bytes"):
        runner.missing(plan, fresh)


def test_a_store_belongs_to_one_process(store: Store) -> None:
    with pytest.raises(ValueError, match=r"in use by another process.*--out"):
        Store(store.root)


@pytest.mark.skipif(
    not os.environ.get("SWARMPROOF_GSM8K"),
    reason="SWARMPROOF_GSM8K is not set to the train.jsonl of GSM8K",
)
def test_the_papers_scale_runs_on_real_data_without_hub_or_gpu(
    fresh: Store, tmp_path: Path
) -> None:
    """A few million random parameters in bf16 with gradient checkpointing, two iterations."""
    model = save_random_qwen2(tmp_path / "model", hidden=256, layers=4, positions=2048)
    figure: Any = figures.read("fig3a", "paper")
    curves = {curve: figure.curves[curve] for curve in ("attack", "logit")}
    overrides = [
        f"task.path={os.environ['SWARMPROOF_GSM8K']}",
        f"model.path={model}",
        "model.device=cpu",
        "batch.problems=1",
        "batch.group_size=4",
        "sampling.max_new_tokens=450",
        "evaluation.problems=1",
        "rounds=2",
    ]
    plan = runner.plan([figure.model_copy(update={"curves": curves})], (0,), overrides)
    for arm in plan.arms["fig3a"].values():
        assert arm.trial.model.dtype == "bfloat16"
        assert arm.trial.model.gradient_checkpointing
    run(plan, fresh)
    rows = load_run(fresh.root / "paper/fig3a").rounds.to_dict("records")
    assert len(rows) == 4
    for row in rows:
        if row["arm"] == "attack":
            assert row["groups_learned"] > 0 < row["grad_norm"]
        else:
            assert row["poisoned_refused"] == row["poisoned"] > 0
