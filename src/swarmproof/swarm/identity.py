"""Fingerprints of data and models, and one hash of everything that all nodes of a run must share.

Messages with another hash belong to another run and are refused. The hash does not depend on the
attack, because honest nodes do not know which nodes are malicious.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from swarmproof import registry
from swarmproof.attacks import Attack
from swarmproof.config import TrialConfig
from swarmproof.defenses import Defense
from swarmproof.judges import Local
from swarmproof.records.folder import read_json, write_json
from swarmproof.tasks import Task
from swarmproof.types import Problem
from swarmproof.zoo import added
from swarmproof.zoo.locate import files_of, locate

FINGERPRINTS = "fingerprints.json"
SOURCE_OF = "the source of "  # in front of an added model, in the fingerprints
# What a table without an entry for the shipped judge was made with: before judges had entries, no
# other weights shipped. Of any other judge such a table tells nothing.
_UNSAID = {"the model at 'tiny-judge'": "4ade06ea030c9602eacea903adb299b7"}
_hashes: dict[tuple[Path, int, int], str] = {}


def run_id(
    config: TrialConfig, seed: int, fingerprints: Mapping[str, str], *, nonce: str = ""
) -> str:
    """The id of a run: 32 hexadecimal digits.

    Args:
        config: config of the trial.
        seed: seed of the run.
        fingerprints: fingerprints of data and models.
        nonce: distinguishes runs with equal settings; empty in a simulation.
    """
    shared = {
        "task": config.task,
        "data": fingerprints[_data_of(config)],
        "models": [fingerprints[_model_at(path)] for path in config.model_paths],
        "dtype": config.model.dtype,
        "topology": config.swarm.topology,
        "nodes": config.swarm.nodes,
        "problems": config.swarm.problems,
        "batch": config.batch.model_dump(mode="json"),
        "sampling": config.sampling.model_dump(mode="json"),
        "grpo": config.grpo.model_dump(mode="json"),
        "defenses": list(config.defenses),
        "rounds": config.rounds,
        "seed": seed,
        "nonce": nonce,
    }
    if config.warmup.in_use:
        shared["warmup"] = config.warmup.model_dump(mode="json")
        shared["warmed"] = [fingerprints[warmed_at(path)] for path in config.model_paths]
    return _hash([json.dumps(shared, sort_keys=True, default=str).encode()])


def fingerprints(
    config: TrialConfig, task: Task, warmed: Mapping[str, str] = MappingProxyType({})
) -> dict[str, str]:
    """A hash of the data and of each model, also of judges that run here, by readable names.

    The source of each added model is beside them.

    Args:
        config: config of the trial.
        task: the task of the config, with its data loaded.
        warmed: model path -> fingerprint after the warm-up, if there is one.

    Raises:
        ValueError: a model cannot be found.
    """
    return _fingerprints(config, data_fingerprint(task), warmed)


def of_inputs(config: TrialConfig) -> dict[str, str]:
    """The `fingerprints` of a trial that is not assembled, without those of warmed-up models.

    Raises:
        ValueError: a model cannot be found, or the data of the task cannot be read.
    """
    return _fingerprints(config, _data(json.dumps(config.task, sort_keys=True)), {})


def judges(config: TrialConfig) -> list[Local]:
    """The judges that run in the process of a trial: of its defences, and copies of its attack.

    A judge behind a server has its address and its name in the config, and nothing else is known.
    """
    attack = [registry.build(Attack, config.attack)] if config.swarm.malicious else []
    defenses = [registry.build(Defense, table) for table in config.defenses]
    return [judge for plugin in (*attack, *defenses) for judge in _judges_in(plugin)]


def _judges_in(plugin: registry.Plugin) -> Iterator[Local]:
    for _, value in plugin:
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, Local):
                yield part
            elif isinstance(part, registry.Plugin):
                yield from _judges_in(part)


def _fingerprints(config: TrialConfig, data: str, warmed: Mapping[str, str]) -> dict[str, str]:
    # What a plug-in loads by itself may be of any kind, so nothing is known of it.
    paths = dict.fromkeys([*config.model_paths, *(judge.path for judge in judges(config))])
    sources = {path: added.origin(Path(locate(path))) for path in paths}
    return (
        {_data_of(config): data}
        | {_model_at(path): model_fingerprint(path) for path in paths}
        | {f"{SOURCE_OF}{_model_at(path)}": told for path, told in sources.items() if told}
        | {warmed_at(path): told for path, told in warmed.items()}
    )


@functools.lru_cache(maxsize=16)
def _data(table: str) -> str:
    """The fingerprint of a task's data. A task reads its data once a process, so this may, too."""
    return data_fingerprint(registry.build(Task, json.loads(table)))


def _data_of(config: TrialConfig) -> str:
    return f"the data of the task {config.task['name']!r}"


def _model_at(path: str) -> str:
    return f"the model at {path!r}"


def warmed_at(path: str) -> str:
    """The name of a warmed-up model in a table of fingerprints."""
    return f"the warmed-up {_model_at(path).removeprefix('the ')}"


def data_fingerprint(task: Task) -> str:
    """A hash of all problems of both splits, with answers and solutions, in their order."""
    return _hash(
        json.dumps([split, *values(problem)]).encode()
        for split in ("train", "test")
        for problem in task.problems(split)
    )


def model_fingerprint(path: str) -> str:
    """A hash of a model's files: weights, config and tokenizer.

    Raises:
        ValueError: the model cannot be found.
    """

    def parts() -> Iterable[bytes]:
        for file in files_of(path):
            yield file.name.encode()
            yield _file_hash(file).encode()

    return _hash(parts())


def require_unchanged(folder: Path, old: Mapping[str, str], new: Mapping[str, str]) -> None:
    """Raise ValueError, which names what changed, unless the fingerprints are the same.

    Args:
        folder: of the trial, for the error.
        old: those that the trial was started with.
        new: those of now.
    """
    if told := changes(folder, old, new):
        raise ValueError(
            f"{told}; put back what was there to resume it, or start anew in another folder with "
            "--out"
        )


def remember(folder: Path, new: Mapping[str, str], *, resume: bool) -> None:
    """Write the fingerprints of a trial into its folder, before its first round.

    A trial has no checkpoint yet when it is stopped in its first rounds.

    Args:
        folder: of the trial; made if missing.
        new: the fingerprints of now.
        resume: compare with those in the folder, if there are any, instead.

    Raises:
        ValueError: the trial was started with other data or another model, or the file is damaged.
        OSError: the folder cannot be written.
    """
    if resume and (folder / FINGERPRINTS).exists():
        old = read_json(folder, FINGERPRINTS, f"delete {folder} and resume")
        require_unchanged(folder, old, new)
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / FINGERPRINTS, new)


def require_shared(folder: Path, others: Iterable[Path], new: Mapping[str, str]) -> None:
    """Check that other processes play their parts of a trial with the same data and models.

    Their run ids would differ otherwise, and each would wait for messages that never come. Each
    writes its own fingerprints before it reads those of the others, so that the last one sees all.

    Args:
        folder: of this part of the trial, which has its fingerprints.
        others: of the other parts, which may have none yet.
        new: the fingerprints of now.

    Raises:
        ValueError: another part has others.
    """
    for other in others:
        if not (other / FINGERPRINTS).exists():
            continue
        old = _said(read_json(other, FINGERPRINTS, f"delete {other} and resume"), new)
        if differing := _differing(old, new):
            raise ValueError(
                f"{folder} and {other} are parts of one trial, and do not agree on "
                f"{' and '.join(differing)}; give all machines the same files, and for a warm-up "
                "the same processor and torch, or share one $SWARMPROOF_CACHE, or leave out "
                "[warmup]; then start anew in another folder with --out"
            )


def _said(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """A table of fingerprints with what older versions left out."""
    return {key: told for key, told in _UNSAID.items() if key in new} | dict(old)


def _differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]


def changes(folder: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """In words, what differs in two tables of fingerprints; empty if nothing does.

    Args:
        folder: of the trial that has `old`.
        old: those that the trial was started with.
        new: those of now.
    """
    old = _said(old, new)
    differing = _differing(old, new)
    unsaid = " and ".join(key for key in differing if key not in old)
    changed = " and ".join(key for key in differing if key in old)
    words = [f"{changed} changed since {folder} was made"] if changed else []
    return "; ".join([*words, f"{folder} does not say what {unsaid} was"] if unsaid else words)


def values(problem: Problem) -> list[Any]:
    """What a problem is, for a hash."""
    return [problem.id, problem.question, problem.answer, list(problem.solutions)]


def _file_hash(path: Path) -> str:
    """Hash of a file's content. Read once per process while its size and time do not change."""
    state = path.stat()
    key = (path, state.st_size, state.st_mtime_ns)
    if key not in _hashes:
        with path.open("rb") as file:
            _hashes[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return _hashes[key]


def _hash(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()[:32]
