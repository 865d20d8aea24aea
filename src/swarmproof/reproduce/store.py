"""A store of trials by content: a trial that several figures share is run once.

The key is a hash of the resolved config and the seed. This module knows no figures, and not how a
trial is run.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from swarmproof.config import ExperimentConfig, TrialConfig
from swarmproof.records.folder import CONFIG, VERSIONS, RunFolder, lock, read_json, write_json
from swarmproof.records.streams import (
    COMPLETIONS,
    ROUNDS,
    STREAMS,
    read_rounds,
)
from swarmproof.records.versions import versions
from swarmproof.reproduce import inputs
from swarmproof.swarm import identity
from swarmproof.swarm.checkpoint import CHECKPOINT, rounds_done, stream_lengths
from swarmproof.swarm.trial import Trial
from swarmproof.swarm.warmup import WARMUP

_ABOUT = "trial.json"
_KEY_CHARS = 20
_SIZES = "sizes"  # in `_ABOUT`: the bytes of each stream of a finished trial; older ones lack it
# What is read of `_ABOUT`.
_KINDS: dict[str, tuple[type, ...]] = {
    "experiment": (str,),
    "arm": (str,),
    "seed": (int,),
    "begun_with": (dict,),
    "finished_with": (dict, type(None)),
}

_Versions = dict[str, Any] | None


def key(config: Any, seed: int) -> str:
    """The identity of a trial (or of an evaluation of a judge), independent of its name.

    Args:
        config: a pydantic model. Its values count, with the defaults of its own tables.
        seed: of the trial.
    """
    table = {"config": config.model_dump(mode="json"), "seed": seed}
    text = json.dumps(table, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:_KEY_CHARS]


def trial_folder(root: Path, key: str) -> Path:
    """Where the store in `root` has a trial."""
    return root / "trials" / key


def is_finished(root: Path, key: str) -> bool:
    """Whether the store in `root` has a finished trial; takes no lock.

    Raises:
        ValueError: its file is damaged.
    """
    folder = trial_folder(root, key)
    return (folder / _ABOUT).exists() and bool(_about(folder)["finished_with"])


def made_with(root: Path, key: str) -> str:
    """A hash of the data, models and versions that a finished trial was made with."""
    return inputs.made_with(trial_folder(root, key), _ABOUT, identity.FINGERPRINTS)


def require_same_inputs(root: Path, wanted: Mapping[str, TrialConfig]) -> None:
    """Raise ValueError if a finished trial was made with other data or another model.

    A key has their names only, so a model that was replaced under its name keeps the key.

    Args:
        root: of the store.
        wanted: key -> config of trials, finished or not.
    """
    finished = {name: trial_folder(root, name) for name in wanted if is_finished(root, name)}
    for name, folder in finished.items():
        if why := inputs.other(folder, wanted[name]):
            raise ValueError(
                f"{why}; put back what was there, delete that folder to run the trial again, or "
                "choose another with --out"
            )
    _require_one_start(finished, wanted)


def require_whole(root: Path, wanted: Mapping[str, TrialConfig]) -> None:
    """Raise ValueError if a finished trial has not all that it wrote, or not all of its rounds.

    Args:
        root: of the store.
        wanted: key -> config of trials, finished or not.
    """
    for name, config in wanted.items():
        folder = trial_folder(root, name)
        if is_finished(root, name):
            sizes = _about(folder).get(_SIZES)
            remedy = f"delete {folder} to run this trial again"
            _require_rounds(folder, config.rounds, remedy)
            _require_sizes(folder, sizes if isinstance(sizes, dict) else {}, remedy)


def _require_rounds(folder: Path, rounds: int, remedy: str) -> None:
    """Raise ValueError unless each cohort of a trial has so many rounds."""
    told = [(record.cohort, record.round) for record in read_rounds(folder)]
    every = {(cohort, round) for cohort, _ in told for round in range(rounds)}
    if not told or set(told) != every:
        here = len({round for _, round in told})
        raise ValueError(f"{folder} is damaged: it has {here} of {rounds} rounds; {remedy}")


def _require_sizes(folder: Path, wanted: Mapping[str, int], remedy: str) -> None:
    """Raise ValueError unless its streams have these lengths, as far as these are known."""
    for name, size in _sizes(folder).items():
        if size != wanted.get(name, size):
            raise ValueError(
                f"{folder} is damaged: {name} has {size} bytes, and {wanted[name]} were written; "
                f"{remedy}"
            )


def _sizes(folder: Path) -> dict[str, int]:
    """Timings are left out: nothing is drawn from them."""
    files = {name: folder / name for name in (ROUNDS, COMPLETIONS)}
    return {name: file.stat().st_size if file.exists() else 0 for name, file in files.items()}


def _require_one_start(finished: Mapping[str, Path], wanted: Mapping[str, TrialConfig]) -> None:
    if why := inputs.other_start(finished, wanted):
        raise ValueError(
            f"{why}; delete those trials of the store that are to run again here, or choose "
            "another with --out"
        )


def _about(folder: Path) -> dict[str, Any]:
    remedy = f"delete {folder} to run this trial again"
    found = read_json(folder, _ABOUT, remedy)
    wrong = [name for name, kinds in _KINDS.items() if not isinstance(found.get(name, ...), kinds)]
    if wrong:
        raise ValueError(f"{folder / _ABOUT} is damaged: {wrong[0]} is missing or wrong; {remedy}")
    return found


class Store:
    """A folder of trials, locked by this process until the context ends.

    Raises:
        ValueError: the folder is in use by another process, or cannot be written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            root.mkdir(parents=True, exist_ok=True)
            self._lock = lock(root)
        except OSError as error:
            raise ValueError(
                f"cannot write to {root}: {error.strerror}; choose another folder with --out"
            ) from None

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    def folder(self, key: str) -> Path:
        return trial_folder(self.root, key)

    def finished(self, key: str) -> bool:
        return is_finished(self.root, key)

    def about(self, key: str) -> dict[str, Any]:
        """`experiment`, `arm`, `seed`, `config`, and the versions at its start and at its end.

        Raises:
            ValueError: there is no such trial, or its file is damaged.
        """
        return _about(self.folder(key))

    def begin(self, key: str, trial: Trial, *, resume: bool) -> None:
        """Describe a new trial. With `resume`, a trial with a checkpoint keeps its description."""
        if not (resume and rounds_done(self.folder(key))):
            self._write(key, trial, versions(), None)

    def finish(self, key: str) -> None:
        """Mark a trial as finished. Delete its checkpoint, which is large and no longer needed."""
        done = {"finished_with": versions(), _SIZES: _sizes(self.folder(key))}
        write_json(self.folder(key) / _ABOUT, self.about(key) | done)
        (self.folder(key) / CHECKPOINT).unlink(missing_ok=True)

    def take(self, run: Path, wanted: Mapping[str, TrialConfig]) -> list[str]:
        """Copy the wanted, finished trials of a run folder into the store; returns their keys.

        Raises:
            ValueError: `run` is not a run folder, one of its streams is damaged, or a trial was
                made with other data or another model; then none is copied.
            OSError: a file cannot be read or written.
        """
        folder = RunFolder.open(run)
        made = read_json(run, "versions.json")
        found: dict[str, Trial] = {}
        for arm, config in folder.config.arms.items():
            for seed in folder.config.seeds:
                name, source = key(config, seed), folder.trial_folder(arm, seed)
                if name not in wanted or self.finished(name):
                    continue
                if rounds_done(source) >= config.rounds:
                    found[name] = Trial(folder.config.name, arm, seed, config, source)
        for trial in found.values():
            _require_rounds(trial.folder, trial.config.rounds, f"leave out --from {run}")
            _require_sizes(trial.folder, stream_lengths(trial.folder), f"leave out --from {run}")
        self._require_fit(run, {name: trial.folder for name, trial in found.items()}, wanted)
        for name, trial in found.items():
            shutil.rmtree(self.folder(name), ignore_errors=True)  # an unfinished one
            self.folder(name).mkdir(parents=True)
            warmed = (WARMUP,) if trial.config.warmup.in_use else ()
            for file in (*STREAMS, identity.FINGERPRINTS, *warmed):
                shutil.copyfile(trial.folder / file, self.folder(name) / file)
            self._write(name, trial, made, made)
        return list(found)

    def _require_fit(
        self, run: Path, sources: Mapping[str, Path], wanted: Mapping[str, TrialConfig]
    ) -> None:
        """The run is the user's own, so no remedy touches it."""
        told = [why for name in sources if (why := inputs.other(sources[name], wanted[name]))]
        if told:
            raise ValueError(
                f"{len(told)} of {len(sources)} trials cannot be taken over: {told[0]}; put back "
                f"what was there, or leave out --from {run}"
            )
        own = {name: self.folder(name) for name in wanted if self.finished(name)}
        if why := inputs.other_start(own | dict(sources), wanted):
            raise ValueError(f"{why}; leave out --from {run}, or choose another --out")

    def as_run(
        self, path: Path, config: ExperimentConfig, keys: Mapping[str, Sequence[str]]
    ) -> dict[str, Any]:
        """Make a run folder whose trials are links into the store; returns its summary.

        Args:
            path: of the run folder; what it has is replaced.
            config: its arms and seeds.
            keys: of the finished trials of each arm, in the order of the seeds.

        Raises:
            ValueError: the trials start from different weights, or a file is damaged.
            OSError: the folder cannot be written.
        """
        arms = {name: config.arms[arm] for arm, of_arm in keys.items() for name in of_arm}
        # The warm-up of those that ran now may have been made after the check before them.
        _require_one_start({name: self.folder(name) for name in arms}, arms)
        folder = RunFolder(path, config, None)
        for arm, of_arm in keys.items():
            for seed, name in zip(config.seeds, of_arm, strict=True):
                _link(folder.trial_folder(arm, seed), self.folder(name))
        write_json(path / VERSIONS, self.versions(keys)[0])
        write_json(path / CONFIG, config.model_dump(mode="json"))
        return folder.write_summary()

    def versions(self, keys: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
        """All that the trials were begun and finished with, each once."""
        made = [
            about[when]
            for row in keys.values()
            for about in map(self.about, row)
            for when in ("begun_with", "finished_with")
        ]
        return [v for i, v in enumerate(made) if v not in made[:i]]

    def write_index(self) -> None:
        """Write `index.txt`, which describes the content of each folder."""
        (self.root / "index.txt").write_text("\n".join([*self._lines(), ""]), encoding="utf-8")

    def _lines(self) -> Iterator[str]:
        rows, damaged = [], []
        for name in (path.name for path in (self.root / "trials").glob("*")):
            try:
                if self._has(name):
                    rows.append((self.about(name), name))
            except ValueError:  # told to whoever wants this trial; here it stops nothing
                damaged.append(name)
        for about, name in sorted(
            rows, key=lambda row: (row[0]["experiment"], row[0]["arm"], row[0]["seed"], row[1])
        ):
            state = "finished" if about["finished_with"] else "unfinished"
            yield f"{name}  {about['experiment']}/{about['arm']}  seed {about['seed']}  {state}"
        for name in sorted(damaged):
            yield f"{name}  {_ABOUT} is damaged"

    def _write(self, key: str, trial: Trial, begun: _Versions, finished: _Versions) -> None:
        about = {
            "experiment": trial.experiment,
            "arm": trial.arm,
            "seed": trial.seed,
            "begun_with": begun,
            "finished_with": finished,
            "config": trial.config.model_dump(mode="json"),
        }
        self.folder(key).mkdir(parents=True, exist_ok=True)
        if finished:
            about[_SIZES] = _sizes(self.folder(key))
        write_json(self.folder(key) / _ABOUT, about)

    def _has(self, key: str) -> bool:
        return (self.folder(key) / _ABOUT).exists()


def _link(link: Path, target: Path) -> None:
    """A relative link, so that the root can be moved. An older link is replaced."""
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(os.path.relpath(target, link.parent), target_is_directory=True)
