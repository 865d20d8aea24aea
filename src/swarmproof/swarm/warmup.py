"""The warm-up: a short supervised phase on the task's own solutions, or solved examples in prompts.

The warmed-up model is kept in the cache folder, under a hash of everything that it depends on. So
all arms and seeds, and all processes of this machine, start from the same bytes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, cast

from swarmproof import registry
from swarmproof.config import GrpoConfig, ModelConfig, SamplingConfig, TrialConfig
from swarmproof.records.folder import read_json, write_json
from swarmproof.swarm import identity
from swarmproof.tasks import Task
from swarmproof.types import Completion, Problem, Sample, Slot
from swarmproof.zoo import places, saving
from swarmproof.zoo.locate import files_of, locate

if TYPE_CHECKING:
    from swarmproof.policies.policy import TrainedPolicy

WARMUP = "warmup.json"  # in the folder of a trial, and beside the model in the cache
_MODEL = "model"  # the Hugging Face folder in a folder of the cache
_LOSSES = ("loss_first", "loss_last")  # in the record
_STYLES = 2  # so many of the worked solutions of a problem are taught
_WEIGHTS = (".safetensors", ".bin", ".index.json", ".gguf")
_VERSIONS = ("torch", "transformers", "tokenizers")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Warmed:
    """A warmed-up model."""

    path: str  # of a folder in the cache; without steps, the path that the config names
    fingerprint: str  # of its files
    record: Mapping[str, Any]  # the settings, the loss of the first and last step, the accuracy


def task_of(config: TrialConfig) -> Task:
    """The task of a trial. The solved examples of the warm-up, if any, precede every prompt."""
    task = registry.build(Task, config.task)
    if not config.warmup.shots:
        return task
    shots = _reserved(config, task)[: config.warmup.shots]
    text = "".join(f"{task.prompt(shot)}{task.oracle(shot)}\n\n" for shot in shots)

    def prompt(_: Task, problem: Problem) -> str:
        return text + task.prompt(problem)

    kind: Any = type(f"{type(task).__name__}WithShots", (type(task),), {"prompt": prompt})
    return cast(Task, kind(**dict(task)))


def split(config: TrialConfig, train: Sequence[Problem]) -> Sequence[Problem]:
    """The training problems that rounds use: all but those of the warm-up.

    Raises:
        ValueError: the warm-up leaves too few for a round.
    """
    if not config.warmup.in_use:
        return train
    left = train[: max(0, len(train) - config.warmup.problems)]
    if len(left) < config.batch.problems:
        raise ValueError(
            f"the task has {len(train)} training problems, and warmup.problems = "
            f"{config.warmup.problems} leaves {len(left)} of them for rounds of "
            f"{config.batch.problems}; lower warmup.problems"
        )
    return left


def prepare(configs: Iterable[TrialConfig], say: Say) -> None:
    """Make the warmed-up models of several arms that are not in the cache yet.

    Raises:
        ValueError, OSError: as `warmed`.
    """
    for config in configs:
        for path in paths(config):
            warmed(config, path, task_of(config), say)


def paths(config: TrialConfig) -> tuple[str, ...]:
    """The paths of the models that a trial warms up, each once."""
    return tuple(dict.fromkeys(config.model_paths if config.warmup.in_use else ()))


def cached(config: TrialConfig, path: str) -> Warmed | None:
    """The model at `path` after its warm-up, without a record, if it is in the cache.

    Raises:
        ValueError: a model cannot be found.
    """
    folder = _folder(config, path, _examples(config, task_of(config)))
    if not (config.warmup.steps and folder.is_dir()):
        return None
    trained = str(folder / _MODEL)
    return Warmed(trained, identity.model_fingerprint(trained), {})


def warmed(config: TrialConfig, path: str, task: Task, say: Say = lambda _: None) -> Warmed:
    """The model at `path` after its warm-up: from the cache, or made now.

    Other processes that want the same model wait meanwhile.

    Raises:
        ValueError: the training diverged, a solution cannot be encoded, or the cache is damaged.
        OSError: the cache folder cannot be written.
    """
    settings = config.warmup
    examples = _examples(config, task)
    if not Path(locate(path)).is_dir():  # on the hub: its files are hashed, so they come first
        from swarmproof.policies import policy

        policy.load(config.model.model_copy(update={"path": path}))
    folder = _folder(config, path, examples)
    with _only_one(folder):
        if settings.steps and not folder.is_dir():
            say(f"warm-up of {path}: {settings.steps} steps, kept in {folder}")
            _make(config, path, examples, folder, say)
        trained = str(folder / _MODEL) if settings.steps else path
        fingerprint = identity.model_fingerprint(trained)
        record = settings.model_dump(mode="json")
        if settings.steps:
            found = read_json(folder, WARMUP, f"delete {folder}")
            if not _is_record(found, record | {"fingerprint": fingerprint}):
                raise ValueError(f"{folder} was changed since it was made; delete it")
            record |= {name: found[name] for name in _LOSSES}
        record |= _accuracy(config, trained, task, folder)
    return Warmed(trained, fingerprint, record)


def _is_record(found: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    """Whether the record of a cached model has what is known of it, and both losses."""
    losses = [found.get(name) for name in _LOSSES]
    return known.items() <= found.items() and all(
        isinstance(loss, float) and math.isfinite(loss) for loss in losses
    )


def start_model(config: TrialConfig, task: Task) -> ModelConfig:
    """The model that the nodes start from: after its warm-up, if there is one."""
    if not config.warmup.steps:
        return config.model
    path = warmed(config, config.model.path, task).path
    return config.model.model_copy(update={"path": path})


def _reserved(config: TrialConfig, task: Task) -> list[Problem]:
    """The problems of the warm-up. The first ones are its shots."""
    train = task.problems("train")
    reserved = list(train[len(split(config, train)) :])
    if config.warmup.shots:
        Random(f"warmup/shots/{config.warmup.seed}").shuffle(reserved)
    return reserved


def lessons(config: TrialConfig, task: Task) -> list[tuple[Problem, str]]:
    """Problem and solution of every example of the warm-up, in the order of the steps."""
    settings = config.warmup
    if not settings.steps:  # all of the problems may be shown, and none is left
        return []
    reserved = _reserved(config, task)[settings.shots :]
    rng = Random(f"warmup/{settings.seed}")
    found: list[tuple[Problem, str]] = []
    for epoch in range(-(-settings.steps * settings.batch // len(reserved))):
        rng.shuffle(reserved)
        found += [(p, task.oracle(p, (epoch + i) % _STYLES)) for i, p in enumerate(reserved)]
    return found[: settings.steps * settings.batch]


def _examples(config: TrialConfig, task: Task) -> list[tuple[str, str]]:
    return [(task.prompt(problem), solution) for problem, solution in lessons(config, task)]


def _folder(config: TrialConfig, path: str, examples: Sequence[tuple[str, str]]) -> Path:
    told = {
        "model": identity.model_fingerprint(path),
        "device": config.model.device.partition(":")[0],
        "examples": examples,
        "settings": config.warmup.model_dump(mode="json"),
        "versions": [version(name) for name in _VERSIONS],
        "method": 1,  # counted up when the training below changes
    }
    key = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]
    return places.cache() / "warmup" / key


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(
    config: TrialConfig, path: str, examples: Sequence[tuple[str, str]], folder: Path, say: Say
) -> None:
    """Train, and put the folder in place in one step."""
    from swarmproof.policies import policy

    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
    with _one_thread():
        model = config.model.model_copy(update={"path": path, "dtype": config.warmup.dtype})
        trained = policy.train(model, GrpoConfig(lr=config.warmup.lr), SamplingConfig())
        losses = _teach(trained, config, examples, say)
    trained.model.float()
    for weight, master in zip(trained.model.parameters(), trained.learner.masters, strict=True):
        weight.data = master.data
    try:
        saving.save(trained.model, part / _MODEL)
        for file in files_of(path):
            if not file.name.endswith(_WEIGHTS) and not (part / _MODEL / file.name).exists():
                shutil.copyfile(file, part / _MODEL / file.name)
        record = {
            **config.warmup.model_dump(mode="json"),
            "loss_first": losses[0],
            "loss_last": losses[-1],
            "fingerprint": identity.model_fingerprint(str(part / _MODEL)),
        }
        write_json(part / WARMUP, record)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def _one_thread() -> Iterator[None]:
    """As in a trial: sums are split by thread."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _teach(
    trained: TrainedPolicy, config: TrialConfig, examples: Sequence[tuple[str, str]], say: Say
) -> list[float]:
    """Minimise the mean negative log-likelihood of the solutions; returns the loss of each step.

    The learner's gradient of a completion with advantage 1 is that of its log-likelihood.
    """
    settings, learner = config.warmup, trained.learner
    losses: list[float] = []
    for step in range(settings.steps):
        batch = examples[step * settings.batch : (step + 1) * settings.batch]
        rows = [[trained.codec.encode(solution)] for _, solution in batch]
        prompts = [prompt for prompt, _ in batch]
        samples = [[_sample(row, len(batch))] for (row,) in rows]
        loss = 0.0
        for indices, forward in trained.scorer.passes(prompts, rows, [True] * len(batch)):
            learner.accumulate(forward, [samples[i] for i in indices])
            logps = forward.batch.split(forward.detached_logp().float())
            loss -= sum(float(logp.mean()) for logp in logps) / len(batch)
        rate = settings.lr * (1 - step / settings.steps)
        learner.grpo = learner.grpo.model_copy(update={"lr": rate})
        try:
            learner.step()
        except ValueError as error:
            told = str(error).replace("grpo.lr", "warmup.lr")
            raise ValueError(f"the warm-up diverged: {told}") from None
        losses.append(loss)
        if (step + 1) % 10 == 0 or step + 1 == settings.steps:
            say(f"warm-up step {step + 1} of {settings.steps}, loss {loss:.3f}")
    return losses


def _sample(tokens: tuple[int, ...], batch: int) -> Sample:
    return Sample(
        completion=Completion(Slot(0, "warm-up", 0), 0, "", tokens),
        verdicts=(),
        reward=1.0,
        kept=True,
        weight=1.0,
        advantage=1.0,
        loss_weight=1 / batch,
    )


def _accuracy(config: TrialConfig, path: str, task: Task, folder: Path) -> dict[str, Any]:
    """Accuracy of the model on held-out problems, one sampled completion each.

    Computed once for each task and set of problems, and kept in `folder`.
    """
    from swarmproof.policies import policy

    problems = task.problems("test")[: config.evaluation.problems]
    prompts = [task.prompt(problem) for problem in problems]
    graded = [config.task, [identity.values(problem) for problem in problems]]
    told = [config.model.dtype, config.sampling.model_dump(mode="json"), prompts, graded]
    key = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    name = f"accuracy-{key[:16]}.json"
    if (folder / name).is_file():
        return _accuracy_in(folder, name, len(problems))
    with _one_thread():
        model = config.model.model_copy(update={"path": path})
        read = policy.load(model, config.sampling)
        rng = Random("warmup/accuracy")
        drawn = read.generator.generate(prompts, [[rng.getrandbits(62)] for _ in problems])
    texts = [read.codec.decode(rows) for rows in drawn]
    rewards = task.group_rewards(list(zip(problems, texts, strict=True)))
    found = {
        "heldout_problems": len(problems),
        "heldout_accuracy": sum(row[0] for row in rewards) / len(rewards),
    }
    folder.mkdir(exist_ok=True)
    write_json(folder / name, found)
    return found


def _accuracy_in(folder: Path, name: str, problems: int) -> dict[str, Any]:
    """What `_accuracy` wrote for so many problems.

    Raises:
        ValueError: the file is damaged.
    """
    found = read_json(folder, name, f"delete {folder}")
    accuracy = found.get("heldout_accuracy")
    # A NaN is not between them.
    right = isinstance(accuracy, float) and 0 <= accuracy <= 1
    if not right or found.get("heldout_problems") != problems:
        raise ValueError(f"{folder / name} is damaged; delete it")
    return {"heldout_problems": problems, "heldout_accuracy": accuracy}


def remember(folder: Path, records: Mapping[str, Mapping[str, Any]]) -> None:
    """Write what the warm-ups of a trial were into its folder: model path -> record."""
    if records:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / WARMUP, records)
