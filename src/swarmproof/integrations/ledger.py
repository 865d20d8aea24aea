"""What each sender sent and what was refused of it, and who is to be kept out, as data.

A refusal is about a completion. A quarantine is about a sender, and needs more: a proof, or
refusals that an honest sender would have only at a stated rate.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from swarmproof.integrations.rows import TrainerRow, refusal
from swarmproof.records.summary import Interval, wilson_interval
from swarmproof.types import NodeId, Sample

Proof = Literal["forgery", "equivocation"]
ADMISSION = "admission"  # the name in place of a defence's, for what is malformed

_LONGEST_NAME = 64
_MOST_REASONS = 16  # different ones for each sender


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Why a sender is to be kept out."""

    sender: NodeId
    step: int  # when this was known
    kind: Literal["forgery", "equivocation", "statistics"]
    reason: str  # one line
    # For `statistics`: the probability that an honest sender is refused as often, uncorrected.
    p_value: float | None = None


@dataclass(frozen=True, slots=True)
class SenderRow:
    """One sender's numbers; shares have Wilson's 95 % interval."""

    sender: NodeId | None  # None: all senders beyond the bound of the ledger
    sent: int
    refused: int
    interval: Interval | None  # of the share refused / sent
    by_defense: Mapping[str, int]
    reasons: Mapping[str, int]  # with every number replaced by N
    contested: int  # refused, but another sender sent the same text
    quarantine: Quarantine | None


@dataclass(slots=True)
class _Account:
    sent: int = 0
    refused: int = 0
    contested: int = 0
    by_defense: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    inspections: int = 0  # that contained anything of it
    refused_in: dict[str, int] = field(default_factory=dict)  # defence -> number of these
    first_trained: int | None = None


class Ledger:
    """Counts by sender. Names are hostile: they are cut, and only so many are kept.

    **Quarantine by statistics.** The unit is an inspection (a batch), not a completion, because
    one defence's refusals in a batch are not independent. For a sender seen in n inspections, of
    which k have an uncontested refusal by a defence, the exact p-value is P(Binomial(n, rate) >=
    k). It must be at most `false_alarm / (max_senders x defences x n (n + 1))`. These bounds sum
    to `false_alarm` over all senders, defences and n. So the probability that any honest sender is
    ever quarantined is at most `false_alarm`, if inspections are independent and the rates hold.

    **Copies.** A refusal does not count for this if another sender sent the same text for the same
    prompt, or if the caller knows the sender as a victim of copying: refusals may be the copier's
    work. Two malicious senders can use this to escape quarantine, but not the refusals.

    Args:
        honest_rates: defence -> largest share of inspections in which it refuses anything of an
            honest sender. Defences without one never lead to a quarantine. If a defence refuses a
            share r of honest completions, m of each sender in a batch, 1 - (1 - r)^m is an example.
        false_alarm: probability that any honest sender is ever quarantined by statistics.
        max_senders: number of names that are kept; later ones are counted together.

    Raises:
        ValueError: a rate or probability is out of range.
    """

    def __init__(
        self,
        honest_rates: Mapping[str, float] | None = None,
        *,
        false_alarm: float = 0.01,
        max_senders: int = 1000,
    ) -> None:
        self.honest_rates = dict(honest_rates or {})
        for name, rate in {**self.honest_rates, "false_alarm": false_alarm}.items():
            if not 0 < rate < 1:
                raise ValueError(f"the rate of {name!r:.60} is {rate!r}; it must be in (0, 1)")
        if max_senders < 1:
            raise ValueError(f"max_senders is {max_senders}; it must be at least 1")
        self.false_alarm, self.max_senders = false_alarm, max_senders
        self._accounts: dict[NodeId, _Account] = {}
        self._others = _Account()
        self._quarantine: dict[NodeId, Quarantine] = {}
        self._last_step = 0

    def record(
        self,
        rows: Sequence[TrainerRow],
        samples: Sequence[Sample | None],
        step: int,
        victims: Collection[NodeId] = (),
    ) -> None:
        """Count an inspected batch.

        Args:
            rows: its completions.
            samples: what `rows.inspect` returned for them.
            step: the trainer's step: the number of updates of the weights before this batch.
            victims: senders that others are known to have copied in this batch.
        """
        self._last_step = max(self._last_step, step)
        shared = _sent_by_several(rows)
        refused_now: dict[NodeId, set[str]] = defaultdict(set)
        for row, sample in zip(rows, samples, strict=True):
            name = _short(row.sender)
            account = self._account(name)
            account.sent += 1
            if sample is not None and sample.loss_weight > 0 and account.first_trained is None:
                account.first_trained = step
            if defences := _refused_by(row, sample):
                account.refused += 1
                _count(account.reasons, _template(row, sample), _MOST_REASONS)
                for defence in defences:
                    _count(account.by_defense, defence, _MOST_REASONS)
                if row.sender in victims or _key(row) in shared:
                    account.contested += 1
                else:
                    refused_now[name].update(defences)
        for name in {_short(row.sender) for row in rows}:
            self._test(name, refused_now[name], step)

    def prove(self, sender: NodeId, kind: Proof, step: int, reason: str) -> None:
        """Quarantine a sender at once, for an act that proves itself.

        Args:
            sender: whose signature is on it.
            kind: `forgery`: it claims what another one signed. `equivocation`: it signed two
                different messages for one place.
            step: the trainer's step.
            reason: one line.

        Raises:
            ValueError: another kind. Copying is none: a copy does not prove who wrote it first.
        """
        if kind not in get_args(Proof):
            raise ValueError(f"{kind!r:.60} proves nothing; known: {', '.join(get_args(Proof))}")
        name = _short(sender)
        self._quarantine.setdefault(
            name, Quarantine(name, step, kind, " ".join(reason.split())[:500])
        )

    @property
    def quarantine(self) -> tuple[Quarantine, ...]:
        """Senders to be kept out, in the order in which this was known."""
        return tuple(self._quarantine.values())

    def last_clean_step(self, sender: NodeId) -> int:
        """The last step whose weights no completion of this sender has trained.

        Start again from there after a finding: TRL's `checkpoint-N` with the largest N that is not
        above it. Step 0 is the model that training started from.
        """
        first = self._account(_short(sender), new=False).first_trained
        return self._last_step if first is None else first

    def rows(self) -> list[SenderRow]:
        """The numbers of each sender, those with the most refusals first."""
        found: list[tuple[NodeId | None, _Account]] = [*self._accounts.items()]
        if self._others.sent:
            found.append((None, self._others))
        return [
            SenderRow(
                name,
                account.sent,
                account.refused,
                wilson_interval(account.refused, account.sent),
                dict(account.by_defense),
                dict(account.reasons),
                account.contested,
                None if name is None else self._quarantine.get(name),
            )
            for name, account in sorted(found, key=lambda pair: -pair[1].refused)
        ]

    def state_dict(self) -> dict[str, Any]:
        """All counts, as plain JSON values."""
        return {
            "accounts": [[name, asdict(account)] for name, account in self._accounts.items()],
            "others": asdict(self._others),
            "quarantine": [asdict(entry) for entry in self._quarantine.values()],
            "last_step": self._last_step,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`.

        Raises:
            ValueError: this is not the state of a ledger.
        """
        try:
            accounts = {_short(name): _Account(**values) for name, values in state["accounts"]}
            others = _Account(**state["others"])
            entries = {entry["sender"]: Quarantine(**entry) for entry in state["quarantine"]}
            last_step = int(state["last_step"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"this is not the state of a ledger ({error!r:.200})") from None
        self._accounts, self._others = accounts, others
        self._quarantine, self._last_step = entries, last_step

    def _account(self, name: NodeId, *, new: bool = True) -> _Account:
        if name in self._accounts:
            return self._accounts[name]
        if len(self._accounts) >= self.max_senders:
            return self._others
        return self._accounts.setdefault(name, _Account()) if new else _Account()

    def _test(self, name: NodeId, refused_by: Collection[str], step: int) -> None:
        account = self._account(name)
        account.inspections += 1
        for defence in refused_by:
            if defence in self.honest_rates:
                account.refused_in[defence] = account.refused_in.get(defence, 0) + 1
        if account is self._others or name in self._quarantine or not refused_by:
            return
        from scipy import special  # imported here, because most batches refuse nothing

        n = account.inspections
        bound = self.false_alarm / (self.max_senders * len(self.honest_rates or " ") * n * (n + 1))
        for defence, k in account.refused_in.items():
            p_value = float(special.bdtrc(k - 1, n, self.honest_rates[defence]))
            if p_value <= bound:
                reason = (
                    f"{defence} refused completions of it in {k} of {n} inspections, an honest "
                    f"sender's in at most {self.honest_rates[defence]:g} of them"
                )
                self._quarantine[name] = Quarantine(name, step, "statistics", reason, p_value)
                return


def _refused_by(row: TrainerRow, sample: Sample | None) -> list[str]:
    if row.malformed:
        return [ADMISSION]
    verdicts = () if sample is None else sample.verdicts
    return [verdict.defense for verdict in verdicts if verdict.accepted is False]


def _template(row: TrainerRow, sample: Sample | None) -> str:
    """A reason without its numbers and quotations, so that reasons can be counted."""
    verdict = None if sample is None else refusal(sample)
    reason = row.malformed or ("" if verdict is None else f"{verdict.defense}: {verdict.reason}")
    return re.sub(r"\d+(\.\d+)?", "N", re.sub(r"'[^']*'|\"[^\"]*\"", "…", reason))[:200]


def _count(counts: dict[str, int], key: str, most: int) -> None:
    key = key if key in counts or len(counts) < most else "other"
    counts[key] = counts.get(key, 0) + 1


def _key(row: TrainerRow) -> tuple[Hashable, str]:
    """Letters and digits alone: a copier may change the rest."""
    return row.group, "".join(filter(str.isalnum, row.text)).casefold()


def _sent_by_several(rows: Sequence[TrainerRow]) -> set[tuple[Hashable, str]]:
    senders = {(_key(row), _short(row.sender)) for row in rows}
    counts = Counter(key for key, _ in senders)
    return {key for key, count in counts.items() if count > 1}


def _short(sender: NodeId) -> NodeId:
    """A name of bounded length; names that differ stay different."""
    text = str(sender)
    if len(text) <= _LONGEST_NAME:
        return sender
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{text[:40]}…{digest}"
