"""A trial's checkpoint: weights, optimiser, state of the guards, and lengths of the streams.

One file, replaced atomically; no pickle. A trial that resumes from it writes the same bytes as one
that was never interrupted (ADR 0007). A digest in the file's metadata covers everything else in
it. The swarm is not changed before the whole file was checked.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swarmproof.swarm import identity

if TYPE_CHECKING:
    from torch import Tensor

    from swarmproof.swarm.node import Cohort
    from swarmproof.swarm.round import Swarm

CHECKPOINT = "checkpoint.safetensors"
_DIGEST = "sha256"
_GUARD = "guard"  # the state of a cohort's defences
_ROUNDS = "num_rounds"  # the learner's count of rounds
_OFFSET, _FINGERPRINT = "offset:", "fingerprint:"


def rounds_done(folder: Path) -> int:
    """Number of rounds in a trial's checkpoint; 0 without a checkpoint. Reads no weights.

    Raises:
        ValueError: the checkpoint is damaged.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / CHECKPOINT
    if not path.exists():
        return 0
    try:
        with safe_open(path, "numpy") as file:
            done = _count(file.metadata() or {}, "done")
            counts = [
                int(file.get_tensor(name))
                for name in file.keys()  # noqa: SIM118
                if name.endswith(f"/{_ROUNDS}")
            ]
        _require_rounds(done, counts)
    except (SafetensorError, ValueError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}); delete {folder} to start anew") from None
    return done


def stream_lengths(folder: Path) -> dict[str, int]:
    """The bytes of each stream of a trial when its checkpoint was made. Reads no weights.

    Raises:
        ValueError: the checkpoint is damaged.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / CHECKPOINT
    try:
        with safe_open(path, "numpy") as file:
            return _offsets(file.metadata() or {})
    except (SafetensorError, _Damage) as error:
        raise ValueError(f"{path} is damaged ({error}); delete {folder} to start anew") from None


def save(folder: Path, swarm: Swarm, done: int, offsets: Mapping[str, int]) -> None:
    """Atomically save weights, optimiser, state of the guards and lengths of the streams.

    Raises:
        ValueError: a weight is not finite, so no trial could continue from it.
        OSError: the file cannot be written.
    """
    import torch

    tensors = {
        f"{cohort.name}/{name}": tensor.contiguous()
        for cohort in swarm.cohorts
        for name, tensor in cohort.policy.learner.state().items()
    }
    if name := _not_finite(tensors):
        raise ValueError(
            f"after {done} rounds {name} is not finite: the training diverged; lower grpo.lr and "
            "start anew"
        )
    for cohort in swarm.cohorts:
        told = json.dumps(cohort.guard.state_dict(), sort_keys=True).encode()
        tensors[f"{cohort.name}/{_GUARD}"] = torch.frombuffer(bytearray(told), dtype=torch.uint8)
    metadata = {"done": str(done)}
    metadata |= {f"{_OFFSET}{k}": str(v) for k, v in offsets.items()}
    metadata |= {f"{_FINGERPRINT}{k}": v for k, v in swarm.fingerprints.items()}
    _write(folder / CHECKPOINT, tensors, metadata)


def join(folders: Sequence[Path], into: Path) -> None:
    """Write a trial's checkpoint from those of its cohorts, each of which was a trial of its own.

    Args:
        folders: with the cohorts' checkpoints, all of one round.
        into: folder with the trial's streams, which end with that round.

    Raises:
        ValueError: a checkpoint is damaged, or they are of different rounds.
        OSError: the file cannot be written.
    """
    from safetensors import SafetensorError, safe_open

    tensors: dict[str, Tensor] = {}
    metadata: dict[str, str] = {}
    for folder in folders:
        path = folder / CHECKPOINT
        try:
            with safe_open(path, "pt") as file:
                own = dict(file.metadata() or {})
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            _require_digest(found, own)
            done = _count(own, "done")
            if str(done) != metadata.get("done", str(done)):
                raise _Damage(f"it is of round {done}, and another cohort's of {metadata['done']}")
        except (SafetensorError, _Damage) as error:
            raise ValueError(f"{path} is damaged ({error}); delete {folder} and resume") from None
        tensors |= found
        metadata |= own
    for key in metadata:
        if key.startswith(_OFFSET):
            metadata[key] = str((into / key.removeprefix(_OFFSET)).stat().st_size)
    _write(into / CHECKPOINT, tensors, metadata)


def _write(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write the file atomically, with its digest."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    metadata[_DIGEST] = digest(tensors, metadata)
    part = path.with_suffix(".part")
    try:
        save_file(dict(tensors), part, metadata)
    except SafetensorError as error:  # the system error, such as a full disk, is only in its text
        code = re.search(r"os error (\d+)", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from None
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)


def restore(folder: Path, swarm: Swarm) -> tuple[int, dict[str, int] | None]:
    """Load the checkpoint, if there is one; return rounds done and lengths of the streams.

    Raises:
        ValueError: it is damaged, or belongs to another swarm, data or model; the swarm is then
            unchanged.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / CHECKPOINT
    if not path.exists():
        return 0, None
    try:
        with safe_open(path, "pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        _require_digest(tensors, metadata)
        identity.require_unchanged(folder, _fingerprints(metadata), swarm.fingerprints)
        done = _count(metadata, "done")
        if done > swarm.config.rounds:
            raise _Damage(f"it is of round {done} of {swarm.config.rounds}")
        offsets = _offsets(metadata)
        parts = _parts(tensors, swarm)
        _require_rounds(done, [int(learned[_ROUNDS]) for learned, _ in parts.values()])
        if name := _not_finite(tensors):
            raise _Damage(f"{name} is not finite")
        for cohort in swarm.cohorts:
            learned, told = parts[cohort.name]
            cohort.guard.load_state_dict(told)
            cohort.policy.learner.restore(learned)
    except (SafetensorError, _Damage) as error:
        raise ValueError(f"{path} is damaged ({error}); delete {folder} and resume") from None
    return done, offsets


def digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """The SHA-256 of a checkpoint's content, except the digest itself."""
    import torch

    sha = hashlib.sha256()
    rest = {key: value for key, value in metadata.items() if key != _DIGEST}
    sha.update(json.dumps(rest, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        head = [name, str(tensor.dtype), list(tensor.shape)]
        sha.update(json.dumps(head).encode())
        data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        sha.update(data.numpy().data)
    return sha.hexdigest()


class _Damage(ValueError):
    """Describes the damage of a checkpoint, without the name of the file."""


def _require_digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    told = metadata.get(_DIGEST)
    if told is None:
        raise _Damage(f"it has no {_DIGEST}; an older version of swarmproof wrote it, or another")
    if told != digest(tensors, metadata):
        raise _Damage(f"its content does not match its {_DIGEST}")


def _fingerprints(metadata: Mapping[str, str]) -> dict[str, str]:
    return {
        key.removeprefix(_FINGERPRINT): value
        for key, value in metadata.items()
        if key.startswith(_FINGERPRINT)
    }


def _offsets(metadata: Mapping[str, str]) -> dict[str, int]:
    keys = [key for key in metadata if key.startswith(_OFFSET)]
    return {key.removeprefix(_OFFSET): _count(metadata, key) for key in keys}


def _count(metadata: Mapping[str, str], key: str) -> int:
    """A number of the metadata, at least 1."""
    told = metadata.get(key)
    if told is None or not re.fullmatch(r"[1-9][0-9]{0,15}", told):
        raise _Damage(f"{key} is {told!r:.40}" if told is not None else f"it has no {key!r}")
    return int(told)


def _require_rounds(done: int, counts: list[int]) -> None:
    """Check that the round counts of all learners agree with the checkpoint's."""
    if not counts or {*counts} != {done}:
        raise _Damage(f"it is of round {done}, and its learners of {counts or 'none'}")


def _parts(
    tensors: Mapping[str, Tensor], swarm: Swarm
) -> dict[str, tuple[dict[str, Tensor], dict[str, Any]]]:
    """The checked data that each cohort's learner and guard restore."""
    parts = {}
    rest = dict(tensors)
    for cohort in swarm.cohorts:
        prefix = f"{cohort.name}/"
        own = {
            name.removeprefix(prefix): rest.pop(name) for name in tensors if name.startswith(prefix)
        }
        told = own.pop(_GUARD, None)
        if told is None:
            raise _Damage(f"it has no {prefix}{_GUARD}")
        _require_learner(own, cohort)
        parts[cohort.name] = (own, _guard_state(bytes(told.numpy()), cohort))
    if rest:
        raise _Damage(f"this swarm has no {min(rest)[:80]}")
    return parts


def _require_learner(tensors: Mapping[str, Tensor], cohort: Cohort) -> None:
    """Check that names, shapes and types match this learner."""
    expected = dict(_layout(cohort, {name.split(".")[1] for name in tensors if "adam." in name}))
    if missing := expected.keys() - tensors.keys():
        raise _Damage(f"it has no {cohort.name}/{min(missing)}")
    if extra := tensors.keys() - expected.keys():
        raise _Damage(f"this swarm has no {cohort.name}/{min(extra)[:80]}")
    for name, (shape, dtype) in expected.items():
        found = tensors[name]
        if tuple(found.shape) != shape or found.dtype != dtype:
            raise _Damage(
                f"{cohort.name}/{name} is {_told(tuple(found.shape), found.dtype)}, and this "
                f"swarm's is {_told(shape, dtype)}"
            )


def _layout(cohort: Cohort, moved: set[str]) -> Iterator[tuple[str, tuple[tuple[int, ...], Any]]]:
    """Shape and type of every tensor of a learner.

    Args:
        moved: indices of the parameters for which the optimiser has moments. It has none for
            parameters that never had a gradient.
    """
    import torch

    learner = cohort.policy.learner
    yield _ROUNDS, ((), torch.int64)
    names = [name for name, _ in learner.model.named_parameters()]
    for i, (name, master) in enumerate(zip(names, learner.masters, strict=True)):
        yield f"model.{name}", (tuple(master.shape), master.dtype)
        if str(i) in moved:
            yield f"adam.{i}.step", ((), torch.float32)
            for moment in ("exp_avg", "exp_avg_sq"):
                yield f"adam.{i}.{moment}", (tuple(master.shape), master.dtype)


def _told(shape: tuple[int, ...], dtype: object) -> str:
    return f"{dtype} of shape {shape}".removeprefix("torch.")


def _guard_state(told: bytes, cohort: Cohort) -> dict[str, Any]:
    """The state of a cohort's guard, `{"defenses": {name: table}}`."""
    try:
        state = json.loads(told)
    except (ValueError, RecursionError) as error:
        raise _Damage(f"{cohort.name}/{_GUARD}: {error}") from None
    tables = state.get("defenses") if isinstance(state, dict) else None
    names = {defense.name for defense in cohort.guard.defenses}
    if not isinstance(tables, dict) or not all(isinstance(t, dict) for t in tables.values()):
        raise _Damage(f"{cohort.name}/{_GUARD} is not a table of tables")
    if unknown := tables.keys() - names:
        raise _Damage(f"{cohort.name}/{_GUARD} is of the defence {min(unknown)!r:.60}")
    return {"defenses": tables}


def _not_finite(tensors: Mapping[str, Tensor]) -> str:
    """The name of the first tensor with a NaN or an infinity; empty if there is none."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            return name
    return ""
