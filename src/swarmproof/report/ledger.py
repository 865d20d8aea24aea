"""The ledger of peers: what each of them sent, what was refused, why it was absent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from swarmproof.exchange.net.plugin import liars_of
from swarmproof.records.folder import RunFolder
from swarmproof.records.streams import read_rounds
from swarmproof.records.summary import wilson_interval

if TYPE_CHECKING:
    from swarmproof.engines.auditing import Findings


_COUNTS = ("completions", "refused", "malformed")


def of_folder(folder: Path) -> str:
    """The ledger of a node, or of any run, from its records.

    Raises:
        ValueError: it is not a run folder, or its records are damaged.
    """
    opened = RunFolder.open(folder)
    lines = []
    for arm, trial in opened.config.arms.items():
        for seed in opened.config.seeds:
            records = read_rounds(opened.trial_folder(arm, seed))
            cohort = records[0].cohort if records else ""
            rounds = [record for record in records if record.cohort == cohort]
            lines.append(f"{arm}, seed {seed}: {len(rounds)} of {trial.rounds} rounds")
            lies = {str(n): f" (lies: {lie})" for n, lie in liars_of(trial.exchange).items()}
            for node in map(str, range(trial.swarm.nodes)):
                counts = Counter[str]()
                for record in rounds:
                    row = record.by_node.get(node, {})
                    counts.update({key: int(row.get(key, 0)) for key in _COUNTS})
                why = Counter(r.absent[node] for r in rounds if node in r.absent)
                absent = ", ".join(f"{reason} {n}" for reason, n in sorted(why.items()))
                refused = _share(counts["refused"], counts["completions"])
                lines.append(
                    f"  node {node}{lies.get(node, '')}: {refused} completions refused, "
                    f"{counts['malformed']} malformed; "
                    f"absent in {why.total()} rounds{f' ({absent})' if absent else ''}"
                )
    return "\n".join(lines)


def of_audit(found: Findings) -> Iterator[str]:
    """The findings of an audit, line by line."""
    yield f"{found.rounds} rounds; signatures and hashes of all messages are right"
    yield from found.faults
    if not found.faults:
        yield "enough nodes signed the outcome of every round"
    for node, each in sorted(found.nodes.items(), key=lambda item: str(item[0])):
        yield (
            f"  node {node}: its message counts in {each.rounds} rounds; other draws "
            f"{_share(each.other_draws, each.completions)}; other weights in "
            f"{each.other_weights} rounds; equivocated in {each.equivocated}"
        )


def _share(count: int, of: int) -> str:
    interval = wilson_interval(count, of)
    if interval is None:
        return f"{count} of {of}"
    low, high = interval
    return f"{count} of {of} ({100 * low:.1f} to {100 * high:.1f} %)"
