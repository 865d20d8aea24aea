"""A guard in GenRL 0.3: a filter in front of `transplant_trees`, payload by payload.

| on_reject | achieved | how |
|---|---|---|
| `drop` | yes | the payload never arrives |
| `monitor` | yes | the verdict is only written down |
| `mask`, `zero_reward` | no | refused in one line: use `drop` |

A payload has all completions of one peer for one question, and becomes a tree with a baseline of
its own. So one refused completion refuses the payload, and no other payload's advantages change. A
malformed payload is refused by itself; in GenRL an exception costs all peers' data of the stage.

Rewards are computed here, by your function, and never read from a payload. A question comes from
the peer. Its answer does, too, unless you give `answer`: a peer can then claim that a wrong answer
is right.

GenRL catches ordinary exceptions and goes on without the swarm. A guard that fails therefore raises
`GuardFailedError`, a `SystemExit`, which ends the game.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swarmproof.guard.guard import Guard
from swarmproof.integrations.configured import GuardFailedError, Hook, Seam, missing
from swarmproof.integrations.rows import TrainerRow
from swarmproof.integrations.sidecar import Sidecar
from swarmproof.integrations.watch import OnError
from swarmproof.types import NodeId

try:
    from genrl.communication import Payload
    from genrl.misc_utils.utils import generate_md5_hash_id
    from genrl.state import WorldState
except ImportError as error:
    if error.name != "genrl":
        raise
    raise missing("genrl", "gensyn-genrl", "pip install gensyn-genrl") from None

SEAM = Seam("GenRL", ("monitor", "drop"), "batch", 'set on_reject = "drop"')

States = Mapping[Any, Mapping[Any, Sequence[Any]]]  # agent -> question's id -> payloads
Rewards = Callable[[Any], Sequence[float]]  # payload -> a reward for each completion


@dataclass(frozen=True, slots=True)
class _Sent:
    """A payload, its place, and why it is malformed (empty if it is not)."""

    agent: Any
    batch_id: Any
    payload: Any
    rewards: Sequence[float]
    malformed: str

    @property
    def rows(self) -> list[TrainerRow]:
        sender: NodeId = self.agent if isinstance(self.agent, int | str) else repr(self.agent)[:64]
        if self.malformed:
            return [TrainerRow(self.batch_id, "", "", None, None, sender, None, self.malformed)]
        question = self.payload.world_state.environment_states["question"]
        key = (self.batch_id, question)  # an MD5 sum does not tell questions apart
        return [
            TrainerRow(key, question, text, reward, None, sender, question)
            for text, reward in zip(self.payload.actions, self.rewards, strict=True)
        ]


class PayloadFilter:
    """The payloads of a stage that pass.

    Args:
        guard: the guard, with its state. It may have a model.
        rewards: payload -> a reward for each of its actions. An exception refuses the payload.
        answer: question -> the answer as you know it, or None for an unknown question. A payload
            that claims another answer is malformed. None: peers' answers are believed.
        sidecar: a file for all verdicts.
        on_error: `stop` or `monitor`, as in `Watch`.
        max_actions: completions in a payload.
        max_chars: characters in a completion.

    Raises:
        ValueError: the guard needs what this hook cannot do.
    """

    def __init__(
        self,
        guard: Guard,
        rewards: Rewards,
        *,
        answer: Callable[[str], Any] | None = None,
        sidecar: Sidecar | None = None,
        on_error: OnError = "stop",
        max_actions: int = 64,
        max_chars: int = 100_000,
    ) -> None:
        self.rewards, self.answer = rewards, answer
        self.max_actions, self.max_chars = max_actions, max_chars
        self.hook = Hook(SEAM, guard, sidecar, on_error, swallowed=True)

    def __call__(self, swarm_states: States, step: int | None = None) -> dict[Any, dict[Any, list]]:  # type: ignore[type-arg]
        """The same states, without what is malformed or refused.

        Args:
            swarm_states: what GenRL gathered. Everything in it comes from peers.
            step: the round.

        Raises:
            GuardFailedError: the guard failed.
        """
        sent = [
            self._sent(agent, batch_id, payload)
            for agent, batches in swarm_states.items()
            for batch_id, payloads in _items(batches)
            for payload in payloads
        ]
        rows = [row for one in sent for row in one.rows]
        groups = [str(one.batch_id) for one in sent for _ in one.rows]
        treatments = iter(self.hook.look(rows, step=step, groups=groups).treatments if rows else ())
        passed: dict[Any, dict[Any, list[Any]]] = {}
        for one in sent:
            # One for each row, and not `all` of a generator, which would stop at the first.
            arrives = [next(treatments).votes for _ in one.rows]
            if all(arrives):
                passed.setdefault(one.agent, {}).setdefault(one.batch_id, []).append(one.payload)
        return passed

    def _sent(self, agent: Any, batch_id: Any, payload: Any) -> _Sent:
        rewards: Sequence[float] = ()
        why = self._malformed(batch_id, payload)
        if not why:
            try:
                rewards = [float(reward) for reward in self.rewards(payload)]
            except Exception as error:  # noqa: BLE001 - a peer chose what the function was given
                why = f"its rewards cannot be computed ({type(error).__name__})"
            else:
                if len(rewards) != len(payload.actions):
                    raise GuardFailedError(
                        f"swarmproof: {len(rewards)} rewards for {len(payload.actions)} actions; "
                        "`rewards` returns one for each"
                    )
                if not all(map(math.isfinite, rewards)):
                    why = "a reward is not finite"
        return _Sent(agent, batch_id, payload, rewards, why)

    def _malformed(self, batch_id: Any, payload: Any) -> str:
        state = getattr(payload, "world_state", None)
        if not (isinstance(payload, Payload) and isinstance(state, WorldState)):
            return "it is no payload with a world state"
        told = state.environment_states
        if not (isinstance(told, Mapping) and isinstance(told.get("question"), str)):
            return "it has no question"
        question = told["question"]
        if why := self._wrong_texts(question, payload.actions):
            return why
        if generate_md5_hash_id(question) != batch_id:
            return "its question is not that of its id"
        known = None if self.answer is None else self.answer(question)
        return "it claims another answer" if known not in (None, told.get("answer")) else ""

    def _wrong_texts(self, question: str, actions: Any) -> str:
        if not (isinstance(actions, list) and 0 < len(actions) <= self.max_actions):
            return f"it does not have 1 to {self.max_actions} actions"
        if not all(isinstance(text, str) and len(text) <= self.max_chars for text in actions):
            return f"an action is no text of at most {self.max_chars} characters"
        if not all(map(_encodes, (question, *actions))):
            return "it has half a surrogate pair"
        return ""


class GuardedTransplants:
    """Put this in front of a data manager: `class Data(GuardedTransplants, YourDataManager)`.

    Set `payload_filter` on the class or the instance.

    Raises:
        GuardFailedError: it is not set, or the guard failed.
    """

    payload_filter: PayloadFilter | None = None

    def transplant_trees(
        self, current_state: Any, swarm_states: States, num_transplants: int
    ) -> Any:
        if self.payload_filter is None:
            raise GuardFailedError(f"swarmproof: set payload_filter of {type(self).__name__}")
        passed = self.payload_filter(swarm_states, step=current_state.round)
        return super().transplant_trees(current_state, passed, num_transplants)  # type: ignore[misc]


def _encodes(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _items(batches: Any) -> list[tuple[Any, Sequence[Any]]]:
    """What an agent sent, question by question; nothing of what has another shape."""
    if not isinstance(batches, Mapping):
        return []
    return [(key, value) for key, value in batches.items() if isinstance(value, list)]
