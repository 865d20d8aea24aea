"""From figures to pictures: the trials that are needed, the trials that are missing, the results.

A finished figure is an ordinary run folder, whose trials are links into the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swarmproof.config import ExperimentConfig, TrialConfig
from swarmproof.engines.events import Event, Finished, OnEvent
from swarmproof.records.folder import read_json, write_json
from swarmproof.records.run import load_run
from swarmproof.reproduce import measured
from swarmproof.reproduce.figures import Acceptance, Arm, Curves, Figure, LeftOut, Theory
from swarmproof.reproduce.store import Store, key, require_same_inputs, require_whole
from swarmproof.swarm.trial import Trial

if TYPE_CHECKING:
    from swarmproof.measure.judge_eval import JudgeEval

RESULT = "result.json"
_MODELS = "models"  # in the table of a judge: fingerprints of the models
_JUDGED, _PART = "judge-eval", ".part"  # the folder of these tables; the end of unfinished names


@dataclass(frozen=True, slots=True)
class Need:
    """A trial that at least one figure needs."""

    key: str
    label: str  # the first figure that needs it, and the curve there
    arm: Arm
    seed: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Resolved figures and their trials, ordered by figure and then by seed."""

    figures: tuple[Figure, ...]
    seeds: tuple[int, ...]
    arms: Mapping[str, Mapping[str, Arm]]  # figure -> curve -> arm
    trials: Mapping[str, Need]  # by key; figures may share one
    overrides: tuple[str, ...] = ()  # KEY=VALUE of every trial

    def as_experiment(self) -> ExperimentConfig:
        """All distinct configs as arms of one experiment, to check them at once."""
        distinct = {need.arm.trial.model_dump_json(): need for need in self.trials.values()}
        arms = {need.label.replace(" ", "."): need.arm.trial for need in distinct.values()}
        return ExperimentConfig(name="reproduce", seeds=self.seeds, arms=arms)

    @property
    def configs(self) -> dict[str, TrialConfig]:
        """The config of every trial, by key."""
        return {name: need.arm.trial for name, need in self.trials.items()}

    def tables(self, root: Path) -> Iterator[Path]:
        """Where a store has the table of each judge of these figures."""
        for figure in self.figures:
            if isinstance(figure, Acceptance):
                for config in figure.evaluations().values():
                    yield _table_of(root, figure, config)

    def keys(self, figure: str) -> dict[str, list[str]]:
        """The keys of the trials of each curve, in the order of the seeds."""
        return {
            curve: [key(arm.trial, seed) for seed in self.seeds]
            for curve, arm in self.arms[figure].items()
        }


def plan(figures: Sequence[Figure], seeds: tuple[int, ...], overrides: Iterable[str] = ()) -> Plan:
    """Resolve every curve, and name each trial once.

    Raises:
        ValueError: a figure names an experiment, an arm or a setting that does not exist, or no
            figure has trials that the settings could change.
    """
    overrides = tuple(overrides)
    if overrides and not any(isinstance(figure, Curves) for figure in figures):
        names = ", ".join(figure.name for figure in figures)
        raise ValueError(f"--set changes trials, and {names} needs none; leave it out")
    arms = {f.name: f.arms(overrides) for f in figures if isinstance(f, Curves)}
    trials: dict[str, Need] = {}
    for figure, curves in arms.items():
        for seed in seeds:
            for curve, arm in curves.items():
                name = key(arm.trial, seed)
                trials.setdefault(name, Need(name, f"{figure} {curve}", arm, seed))
    return Plan(tuple(figures), seeds, arms, trials, overrides)


def missing(plan: Plan, store: Store, *, resume: bool = True) -> list[Trial]:
    """The trials that are not finished, prepared to run in the store.

    Args:
        plan: of all figures.
        store: of the trials.
        resume: whether they will continue from their checkpoints. If not, evaluations of judges
            that have not ended are forgotten, too.

    Raises:
        ValueError: a finished trial was made with other data or another model, or is damaged.
    """
    require_same_inputs(store.root, plan.configs)
    require_whole(store.root, plan.configs)
    for table in () if resume else plan.tables(store.root):
        table.with_name(f"{table.name}{_PART}").unlink(missing_ok=True)
    waiting = []
    for need in plan.trials.values():
        if not store.finished(need.key):
            arm, folder = need.arm, store.folder(need.key)
            trial = Trial(arm.experiment, arm.arm, need.seed, arm.trial, folder)
            store.begin(need.key, trial, resume=resume)
            waiting.append(replace(trial, arm=need.label))
    return waiting


def keeper(plan: Plan, store: Store, show: OnEvent) -> OnEvent:
    """An event handler that stores finished trials, and draws each figure when it is complete.

    Args:
        plan: of all figures.
        store: of the trials.
        show: receives every event first.
    """
    left = {name: {k for row in plan.keys(name).values() for k in row} for name in plan.arms}

    def on_event(event: Event) -> None:
        show(event)
        if isinstance(event, Finished):
            done = event.trial.folder.name
            store.finish(done)
            store.write_index()
            for figure in plan.figures:
                if done in left.get(figure.name, ()):
                    left[figure.name].remove(done)
                    if all(map(store.finished, left[figure.name])):
                        finish(figure, plan, store)

    return on_event


def finish(
    figure: Figure, plan: Plan, store: Store, tell: Callable[[str], None] = lambda _: None
) -> dict[str, Any] | None:
    """Measure and draw a figure whose trials are finished, and write `result.json` beside it.

    Returns:
        the content of `result.json`; None for a figure that this scale leaves out.

    Raises:
        ValueError: a stream is damaged, or a judge cannot be loaded.
        OSError: the folder cannot be written.
    """
    folder = store.root / figure.scale / figure.name
    head = {"figure": figure.name, "scale": figure.scale}
    match figure:
        case LeftOut():
            return None
        case Theory():
            from swarmproof.report import theory

            for picture in theory.draw(folder):
                picture.replace(folder / f"{figure.name}{picture.suffix}")
            found = head | {"measured": measured.of_theory()}
        case Acceptance():
            found = head | _accepted(figure, store, tell)
        case Curves():
            found = head | _curves(figure, plan, store, folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RESULT, found)
    return found


def _curves(figure: Curves, plan: Plan, store: Store, folder: Path) -> dict[str, Any]:
    from swarmproof.report import curves

    keys = plan.keys(figure.name)
    arms = {curve: arm.trial for curve, arm in plan.arms[figure.name].items()}
    config = ExperimentConfig(
        name=figure.name, title=figure.title, claim=figure.paper, seeds=plan.seeds, arms=arms
    )
    summary = store.as_run(folder, config, keys)
    run = load_run(folder, with_completions=False)
    title = f"{figure.label}: {figure.title}"
    column = measured.COLUMNS[figure.metric]
    panel = curves.Panel(figure.metric, column, title, figure.x, figure.y)
    curves.draw_panel(run, panel, folder / figure.name)
    return {
        "seeds": list(plan.seeds),
        "set": list(plan.overrides),
        "trials": keys,
        "versions": store.versions(keys),
        "measured": measured.of_run(summary),
        "by_iteration": {
            curve: curves.course(arm, figure.metric)["by_iteration"]
            for curve, arm in summary["arms"].items()
        },
    }


def _accepted(figure: Acceptance, store: Store, tell: Callable[[str], None]) -> dict[str, Any]:
    """The table of every judge. A table of the same models is read, and not computed again."""
    from swarmproof.judges import reader
    from swarmproof.measure import judge_eval

    found = {}
    for judge, config in figure.evaluations().items():
        path = _table_of(store.root, figure, config)
        path.parent.mkdir(exist_ok=True)
        if not path.exists() or not _is_current(path, config):
            part = path.with_name(f"{path.name}{_PART}")
            tell(f"judge {judge}")
            table = judge_eval.evaluate(config, figure.variants, tell=tell, part=part)
            write_json(path, {**table, _MODELS: judge_eval.fingerprints(config)})
            part.unlink(missing_ok=True)
            reader.load.cache_clear()  # two large judges do not fit on one GPU
        found[judge] = _read_table(path)
    made = [table["versions"] for table in found.values()]
    return {
        "judges": {judge: table["config"] for judge, table in found.items()},
        "versions": [v for i, v in enumerate(made) if v not in made[:i]],
        "measured": measured.of_judges(found),
    }


def _table_of(root: Path, figure: Acceptance, config: JudgeEval) -> Path:
    name = f"{key(config, config.seed)}-{'-'.join(figure.variants)}.json"
    return root / _JUDGED / name


def _is_current(path: Path, config: JudgeEval) -> bool:
    """Whether a table was made with the models of now. One that does not say it is made anew."""
    from swarmproof.measure import judge_eval

    table = _read_table(path)
    return _MODELS in table and table[_MODELS] == judge_eval.fingerprints(config)


def _read_table(path: Path) -> dict[str, Any]:
    """The table of a judge.

    Raises:
        ValueError: it is damaged; one line.
    """
    from swarmproof.measure import unfinished

    table = read_json(path.parent, path.name, unfinished.REMEDY)
    missing = [name for name in ("config", "versions") if not isinstance(table.get(name), dict)]
    if missing:
        raise ValueError(f"{path} is damaged: it has no {missing[0]}; {unfinished.REMEDY}")
    return table | {"accepted": unfinished.accepted_of(table, path)}
