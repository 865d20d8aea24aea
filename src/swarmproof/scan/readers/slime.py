"""slime: the debug dump of a rollout, a torch file `{"rollout_id", "samples"}`.

torch files are pickles. It is loaded with `weights_only=True`, which builds plain values and
tensors and refuses everything else; nothing in it is called.
"""

from __future__ import annotations

import pickle
import pickletools
import zipfile
from collections.abc import Iterator
from typing import Any

from swarmproof.scan.readers.chat import asked
from swarmproof.scan.readers.inputs import Advance, Input
from swarmproof.scan.readers.values import FileRow, verdict
from swarmproof.scan.rollout import Rollout

NAME = "slime debug dump"
MAX_BYTES = 2 << 30  # after unpacking
_PEEK = 1 << 16


def matches(source: Input) -> bool:
    """Whether the first words of the pickle in a torch file are those of a dump; loads nothing."""
    try:
        with source.open() as file, zipfile.ZipFile(file) as archive:
            name = next((n for n in archive.namelist() if n.endswith("/data.pkl")), None)
            if name is None:
                return False
            with archive.open(name) as packed:
                head = packed.read(_PEEK)
    except (zipfile.BadZipFile, NotImplementedError, OSError, RuntimeError, UnicodeDecodeError):
        return False
    return {"rollout_id", "samples"} <= set(_words(head))


def _words(head: bytes) -> Iterator[str]:
    try:
        for _, value, _ in pickletools.genops(head):
            if isinstance(value, str):
                yield value
    except (ValueError, UnicodeDecodeError):  # only its head is here
        return


def read(source: Input, advance: Advance) -> Iterator[Rollout]:
    path = str(source.path)
    table = _loaded(source)
    advance(source.size)
    dump = FileRow(path, {"file": table}).inner(table, "file")
    step = dump.step("rollout_id")
    for number, data in enumerate(dump.items("samples"), 1):
        sample = FileRow(f"{path}:sample {number}", dump.inner(data, "samples").data)
        yield _rollout(sample, path, step)


def _loaded(source: Input) -> Any:
    import torch

    with source.open() as file:
        try:
            with zipfile.ZipFile(file) as archive:
                size = sum(entry.file_size for entry in archive.infolist())
            if size > MAX_BYTES:
                raise ValueError(f"{source.path}: unpacks to over {MAX_BYTES:,} bytes; split it")
            file.seek(0)
            return torch.load(file, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
            why = " ".join(str(error).split())[:120]
            raise ValueError(
                f"{source.path}: is refused by torch's weights-only loader ({why}); it has code or "
                "is damaged: write the samples as JSON lines"
            ) from None


def _rollout(sample: FileRow, path: str, step: int | None) -> Rollout:
    ids, mask, logprobs = _tokens(sample)
    refused, reason = verdict(sample.table("metadata"))
    group = sample.name("group_index")
    status = sample.data.get("status")
    return Rollout(
        id=sample.where,
        where=sample.where,
        prompt=asked(sample, "prompt"),
        text=sample.text("response"),
        group=None if group is None else f"{path}#{group}",
        step=step,
        reward=_reward(sample),
        answer=sample.shown("label"),
        token_ids=ids,
        logprobs=logprobs,
        token_mask=mask,
        truncated=status == "truncated" if isinstance(status, str) else None,
        masked=refused or bool(sample.flag("remove_sample")),
        verdict=reason,
    )


_Ids = tuple[int, ...] | None


def _tokens(sample: FileRow) -> tuple[_Ids, _Ids, tuple[float, ...] | None]:
    """Ids, mask and log-probabilities of the response, aligned; None where there are no ids."""
    count, ids = sample.step("response_length"), sample.ids("tokens")
    if count is None or not ids:
        return None, None, None
    if count > len(ids):
        raise sample.wrong(f"has {len(ids)} tokens and a response of {count}; not aligned")
    mask = tuple(map(int, sample.bits("loss_mask"))) or None
    logprobs = sample.floats("rollout_log_probs") or None
    for what, values in (("bits of loss_mask", mask), ("log-probabilities", logprobs)):
        if values is not None and len(values) != count:
            raise sample.wrong(
                f"has {count} tokens of response and {len(values)} {what}; not aligned"
            )
    return ids[len(ids) - count :], mask, logprobs


def _reward(sample: FileRow) -> float | None:
    """A number; of a table of several, the first."""
    value = sample.data.get("reward")
    if isinstance(value, dict) and value:
        return sample.table("reward").number(next(iter(value)))
    return sample.number("reward")
