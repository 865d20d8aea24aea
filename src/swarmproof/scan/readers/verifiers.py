"""verifiers 0.4 and prime-rl: `traces.jsonl`, an episode a line. The richest format.

An episode has traces, a trace a graph of messages, and each path from a root to a leaf is one
training sample: a rollout. Its completion begins with the first message that the model wrote; the
tokens of other messages behind that are in it and masked. A node has log-probabilities for its
sampled tokens only; the others have 0 here, as in verifiers' own `Branch`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from statistics import fmean

from swarmproof.scan.readers.chat import content, message
from swarmproof.scan.readers.values import FileRow, Rows, verdict
from swarmproof.scan.rollout import Rollout

NAME = "verifiers and prime-rl traces.jsonl"
MAX_NODES = 100_000  # of all paths of a trace


def matches(keys: Collection[str]) -> bool:
    return {"traces", "task", "env"} <= set(keys)


def read(rows: Rows, path: str) -> Iterator[Rollout]:
    del path
    for row in rows:
        row.need("traces")
        group = row.table("group").name("id")
        step = row.table("run").table("work").step("step")
        for trace in row.tables("traces"):
            yield from _of_trace(trace, group, step)


def _of_trace(trace: FileRow, group: str | None, step: int | None) -> Iterator[Rollout]:
    nodes = trace.tables("nodes")
    paths = _paths(trace, nodes)
    own = trace.name("id") or trace.where
    told = trace.table("info")
    refused, reason = verdict(told)
    for number, path in enumerate(paths):
        branch = [nodes[index] for index in path]
        sampled = [bool(node.flag("sampled")) for node in branch]
        if not any(sampled):
            continue  # the model was never asked
        ids, mask, logprobs = _tokens(trace, branch)
        prompt, text = _texts(branch, sampled)
        yield Rollout(
            id=own if len(paths) == 1 else f"{own}#{number}",
            where=trace.where,
            prompt=prompt,
            text=text,
            group=group,
            step=step,
            reward=_reward(trace),
            advantage=_advantage(trace, branch),
            sender=told.table("swarmproof").name("node") or told.name("sender"),
            answer=trace.table("task").table("data").shown("answer"),
            token_ids=ids,
            token_mask=mask,
            logprobs=logprobs,
            truncated=_truncated(trace, path),
            masked=refused or trace.data.get("ok") is False,
            verdict=reason,
        )


def _texts(branch: list[FileRow], sampled: list[bool]) -> tuple[str, str]:
    """What came before the model's first message, and all that the model wrote."""
    said = [node.table("message") for node in branch]
    first = sampled.index(True)
    before = [content(each) for each in said[:first]]
    own = [message(each) for each, is_own in zip(said, sampled, strict=True) if is_own]
    return "\n".join(filter(None, before)), "\n".join(filter(None, own))


def _paths(trace: FileRow, nodes: list[FileRow]) -> list[list[int]]:
    """The nodes of every path from a root to a leaf. Parents stand before their children."""
    parents: list[int | None] = []
    for index, node in enumerate(nodes):
        parent = node.step("parent")
        if parent is not None and parent >= index:
            raise trace.wrong(f"node {index} has the parent {parent}, which is not before it")
        parents.append(parent)
    leaves = sorted(set(range(len(nodes))) - {parent for parent in parents if parent is not None})
    paths, total = [], 0
    for leaf in leaves:
        path: list[int] = []
        at: int | None = leaf
        while at is not None:
            path.append(at)
            at = parents[at]
            total += 1
            if total > MAX_NODES:
                raise trace.wrong(f"a trace has over {MAX_NODES:,} messages on its paths")
        paths.append(path[::-1])
    return paths


_Ids = tuple[int, ...] | None


def _tokens(trace: FileRow, branch: list[FileRow]) -> tuple[_Ids, _Ids, tuple[float, ...] | None]:
    """Ids, mask and log-probabilities from the first sampled token on; None without ids."""
    ids: list[int] = []
    mask: list[int] = []
    logprobs: list[float] = []
    complete = True
    for node in branch:
        own, bits, given = node.ids("token_ids"), node.bits("mask"), node.floats("logprobs")
        if len(bits) != len(own):
            raise trace.wrong(f"a node has {len(own)} token ids and {len(bits)} bits of mask")
        sampled = sum(bits)
        if given and len(given) != sampled:
            raise trace.wrong(
                f"a node has {sampled} sampled tokens and {len(given)} log-probabilities; the "
                "file is not aligned, so nothing is read from it"
            )
        complete = complete and (bool(given) or not sampled)
        ids += own
        rest = len(own) - sampled
        if all(bits[rest:]):  # as it nearly always is: the template's part, then the model's
            mask += [0] * rest + [1] * sampled
            logprobs += [0.0] * rest
            logprobs += given or [0.0] * sampled
        else:
            values = iter(given)
            mask += map(int, bits)
            logprobs += [next(values, 0.0) if bit else 0.0 for bit in bits]
    if 1 not in mask:
        return None, None, None
    first = mask.index(1)
    return tuple(ids[first:]), tuple(mask[first:]), tuple(logprobs[first:]) if complete else None


def _reward(trace: FileRow) -> float | None:
    """The sum of scores by weights, as `Trace.reward`; None where nothing was scored."""
    rewards = trace.table("rewards")
    found = [rewards.table(name) for name in rewards.data if rewards.data[name] is not None]
    values = []
    for reward in found:
        score, weight = reward.number("score"), reward.number("weight")
        values.append((score or 0.0) * (1.0 if weight is None else weight))
    return sum(values) if values else None


def _advantage(trace: FileRow, branch: list[FileRow]) -> float | None:
    """The mean over the sampled tokens, else what the metrics say."""
    values = [value for node in branch for value in node.floats("advantages")]
    return fmean(values) if values else trace.table("metrics").number("advantage")


def _truncated(trace: FileRow, path: list[int]) -> bool | None:
    on_path = set(path)
    reasons = [
        call.data.get("finish_reason")
        for call in trace.tables("calls")
        if call.data.get("node") in on_path
    ]
    return "length" in reasons if reasons else None
