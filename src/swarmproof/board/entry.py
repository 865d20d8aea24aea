"""An entry: a claim about a run as one small JSON file, which anybody can check by running a seed.

An entry is hostile input. Nothing of it names a file, a folder or an address: arms are names, and
models are those of the zoo. What it may make this machine compute is bounded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from swarmproof import registry, zoo
from swarmproof.board import bounds, scores
from swarmproof.board.bounds import tables
from swarmproof.board.lists import Name, checked
from swarmproof.config import ExperimentConfig, TrialConfig, quote, validate
from swarmproof.config.settings import Table, WarmupConfig
from swarmproof.config.tables import require_shallow
from swarmproof.records.folder import VERSIONS, RunFolder, read_json
from swarmproof.records.streams import COMPLETIONS, ROUNDS, read_completions
from swarmproof.tasks import Task

SCHEMA = 1
FILES = (ROUNDS, COMPLETIONS)  # timings hold clocks, and so differ from run to run
_MAX_BYTES = 256 * 1024
_MAX_TEXT = 500  # characters of any text in an entry
_Count = Annotated[int, Field(ge=0, le=2**53)]
_Share = Annotated[float, Field(ge=0, le=1)]
# A mean number of tokens, or its ratio to that of the first round. Its square is finite.
_Length = Annotated[float, Field(ge=0, le=1e6)]
_Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Refused(Table):
    """How many completions were refused."""

    refused: _Count
    of: _Count


class EntryNumbers(Table):
    """What a trial measured: `scores.of_trial`."""

    asr: _Length | None  # a share; for attacks on length a ratio
    accuracy: _Share | None
    length: _Length | None
    rounds: _Count
    honest: Refused
    poisoned: Refused


class EntryTrial(Table):
    """One arm with one seed: its numbers, and what its files must hash to."""

    arm: Name
    seed: _Count
    numbers: EntryNumbers
    sha256: dict[Literal["rounds.jsonl", "completions.jsonl.gz"], _Sha256]


class EntryExperiment(Table):
    """The settings of a run. An arm names a folder, where a seed is run again."""

    name: Annotated[str, StringConstraints(pattern=r"^[^/\\]{1,100}$")]
    seeds: Annotated[tuple[_Count, ...], Field(min_length=1, max_length=16)]
    arms: Annotated[dict[Name, dict[str, Any]], Field(min_length=1, max_length=8)]


class Entry(Table):
    """A whole entry."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    experiment: EntryExperiment
    versions: Annotated[dict[Name, str | None], Field(max_length=16)]
    trials: Annotated[tuple[EntryTrial, ...], Field(min_length=1, max_length=128)]

    @model_validator(mode="after")
    def _complete(self) -> Entry:
        for trial in self.trials:
            if set(trial.sha256) != set(FILES):
                raise ValueError(f"trials: each needs the hashes of {' and '.join(FILES)}")
        return self

    @property
    def config(self) -> ExperimentConfig:
        """The experiment, checked like every other.

        Raises:
            ValueError: a setting is wrong, or a plug-in is not known here.
        """
        return validate(ExperimentConfig, self.experiment.model_dump())


def pack(run: Path) -> dict[str, Any]:
    """An entry for a finished run folder.

    Raises:
        ValueError: it is no run folder, a trial is unfinished, or the run cannot be an entry.
    """
    folder = RunFolder.open(run)
    config = folder.config
    trials = []
    for arm, trial in config.arms.items():
        for seed in config.seeds:
            own = folder.trial_folder(arm, seed)
            numbers = scores.of_trial(trial, seed, own)
            _require_completions(trial, own)
            trials.append({"arm": arm, "seed": seed, "numbers": numbers, "sha256": hashes(own)})
    entry = {
        "schema": SCHEMA,
        "experiment": config.model_dump(mode="json", exclude={"title", "claim"}),
        "versions": read_json(run, VERSIONS),
        "trials": trials,
    }
    parse(entry, str(run))
    return entry


def _require_completions(trial: TrialConfig, folder: Path) -> None:
    """Raise ValueError unless a trial's completions can be read, to the last round."""
    last = -1
    for row in read_completions(folder):
        last = max(last, row["round"])
    if last + 1 < trial.rounds:
        raise ValueError(
            f"{folder / COMPLETIONS} is damaged: it has {last + 1} of {trial.rounds} rounds; run "
            "it again"
        )


def hashes(folder: Path) -> dict[str, str]:
    """The SHA-256 of each record file of a trial.

    Raises:
        OSError: a file is missing.
    """
    found = {}
    for name in FILES:
        with (folder / name).open("rb") as file:
            found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def read(path: Path) -> Entry:
    """Read and check an entry.

    Raises:
        ValueError: one line: it is not a file, too large, malformed, or asks for what an entry may
            not.
    """
    if not path.is_file():
        raise ValueError(f"{path} is not a file")
    with path.open("rb") as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise ValueError(f"{path} is larger than an entry may be ({_MAX_BYTES:,} bytes)")
    try:
        table = json.loads(data.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {str(error)[:100]}") from None
    return parse(table, str(path))


def parse(table: object, where: str) -> Entry:
    """Check an entry.

    Raises:
        ValueError: as `read`.
    """
    for _, text in _texts(table):
        if len(text) > _MAX_TEXT or not text.isprintable():
            raise ValueError(f"{where}: a text is too long or cannot be shown: {quote(text)}")
    try:
        require_shallow(table)
        entry = checked(Entry, table, "")
        # Before the plug-ins are built: some read a file that a text names.
        for key, text in _texts({"name": entry.experiment.name, "arms": entry.experiment.arms}):
            _require_no_place(key, text)
        config = entry.config
        for arm, trial in config.arms.items():
            _require_ours(arm, trial)
            bounds.require(arm, trial)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    wanted = sorted((arm, seed) for arm in config.arms for seed in config.seeds)
    if sorted((trial.arm, trial.seed) for trial in entry.trials) != wanted:
        raise ValueError(f"{where}: trials: give one for each arm and seed of the experiment")
    return entry


def _texts(value: object) -> Iterator[tuple[str, str]]:
    """Every text, also those that are keys, with the key that it stands under."""
    waiting: list[tuple[str, object]] = [("", value)]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, str):
            yield key, value
        elif isinstance(value, Mapping):
            yield from ((key, name) for name in value)
            waiting += value.items()
        elif isinstance(value, list | tuple):
            waiting += [(key, item) for item in value]


def _require_no_place(key: str, text: str) -> None:
    """Raise ValueError for a text that may name a file, an address or a model to download."""
    if "path" in key or key == "models":
        if text not in zoo.names():
            raise ValueError(
                f"{key} is {quote(text)}; an entry has models of the zoo only: "
                f"{', '.join(zoo.names())}"
            )
    elif any(mark in text for mark in "/\\") or text.startswith(("~", ".")) or ".txt" in text:
        raise ValueError(f"{key} is {quote(text)}; an entry may not name a file or an address")


def _require_ours(arm: str, trial: TrialConfig) -> None:
    """Raise ValueError for what reaches beyond this process."""
    task = registry.build(Task, trial.task)
    if task.downloads:
        raise ValueError(f"{arm}: the task {quote(task.name)} downloads data; an entry may not")
    if trial.exchange != {"name": "memory"}:
        raise ValueError(f"{arm}: an entry has the exchange 'memory' only")
    if trial.generator.get("name") != "packed":
        raise ValueError(f"{arm}: an entry draws with the generator 'packed' only")
    if trial.warmup != WarmupConfig():
        raise ValueError(f"{arm}: an entry has no warm-up, which would be kept on this machine")
    # Judges are asked by defences and by attacks, which may hold other attacks.
    for key, table in tables({**trial.attack, "defenses": trial.defenses, "model": None}):
        if key in ("model", "judge") and table.get("name", "local") != "local":
            raise ValueError(f"{arm}: an entry has judges of the zoo only, and asks no server")
    for _, table in tables(trial.model_dump(mode="json")):
        if table.get("device", "cpu") != "cpu":
            raise ValueError(f"{arm}: device is {quote(str(table['device']))}; an entry has 'cpu'")


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not a number in JSON")
