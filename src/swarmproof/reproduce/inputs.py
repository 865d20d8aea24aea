"""Whether finished trials were made with the data and models of now, and start from one model.

Reads what trials wrote about themselves. Says what differs, and knows no remedy.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from swarmproof.config import TrialConfig
from swarmproof.records.folder import read_json
from swarmproof.swarm import identity, warmup


def other(folder: Path, config: TrialConfig) -> str:
    """How the data and models of a finished trial differ from those of now; empty if they do not.

    A warmed-up model must be told. Whether it is the right one only `other_start` can say.

    Raises:
        ValueError: a model cannot be found, the data cannot be read, or a file is damaged.
    """
    if not (folder / identity.FINGERPRINTS).exists():
        return f"{folder} does not say which data and models it was made with"
    old = _fingerprints(folder)
    warmed = {identity.warmed_at(path): "" for path in warmup.paths(config)}
    told = {name: old[name] for name in warmed if name in old}
    return identity.changes(folder, old, identity.of_inputs(config) | warmed | told)


def other_start(finished: Mapping[str, Path], wanted: Mapping[str, TrialConfig]) -> str:
    """Which trials with the same model and warm-up start from different weights; empty if none do.

    Model and settings do not decide about the weights after a warm-up: another processor or other
    versions give others. A trial that is to run starts from the cache, if it has the model already.

    Args:
        finished: key -> folder of finished trials.
        wanted: key -> config of these, and of those that are to run.

    Raises:
        ValueError: a file is damaged.
    """
    starts: dict[str, dict[str, list[Path]]] = {}
    waiting: dict[str, tuple[TrialConfig, str]] = {}
    for name, config in wanted.items():
        for path in warmup.paths(config):
            group = warmup_key(config, path)
            if name in finished:
                told = str(_fingerprints(finished[name]).get(identity.warmed_at(path)))
                starts.setdefault(group, {}).setdefault(told, []).append(finished[name])
            else:
                waiting[group] = (config, path)
    for group in starts.keys() & waiting.keys():
        if found := warmup.cached(*waiting[group]):
            starts[group].setdefault(found.fingerprint, []).append(Path(found.path))
    for group, folders in starts.items():
        if len(folders) > 1:
            few, many = sorted(folders.values(), key=len)[-2:]
            more = [f" ({len(each)} of them)" if len(each) > 1 else "" for each in (few, many)]
            return (
                f"{few[0]}{more[0]} and {many[0]}{more[1]} have different weights after the same "
                f"warm-up of {json.loads(group)[0]!r}, as other processors or versions give"
            )
    return ""


def warmup_key(config: TrialConfig, path: str) -> str:
    """What the trials have in common that start from the model at `path` after one warm-up."""
    shared = [path, config.task, config.warmup.model_dump(mode="json"), config.model.device]
    return json.dumps(shared, sort_keys=True)


def made_with(folder: Path, *names: str) -> str:
    """A hash of files of a trial; another if one of them is not there."""
    digest = hashlib.sha256()
    for name in names:
        text = (folder / name).read_bytes() if (folder / name).is_file() else b""
        digest.update(hashlib.sha256(text).digest())
    return digest.hexdigest()[:32]


def _fingerprints(folder: Path) -> dict[str, object]:
    return read_json(folder, identity.FINGERPRINTS, f"delete {folder} to run this trial again")
