"""`wrap`: reward functions that leave out what a guard refuses.

They use only what TRL documents, so they also work in its asynchronous trainer, which pickles
them into another process and passes neither `trainer_state` nor `log_extra`.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from swarmproof.guard.guard import Guard
from swarmproof.integrations.ledger import Ledger
from swarmproof.integrations.sidecar import Sidecar
from swarmproof.integrations.trl.batches import Batch, Rewards, changed, total
from swarmproof.integrations.watch import OnError, Seen, Treatment, Watch
from swarmproof.policies.codec import Codec

USE_MIXIN = "use GuardMixin, or rollout_func with `reward`"
# Defences that give credit to single tokens, unless they are told to refuse.
_CREDITING = ("equations", "spurious_tokens", "token_credit")
_MOST_OPEN = 1024  # batches of which some functions were asked and some were not


def wrap(
    guard: Guard,
    reward_funcs: Callable[..., Any] | Sequence[Callable[..., Any]],
    *,
    weights: Sequence[float] | None = None,
    tokenizer: Any = None,
    num_generations: int | None = None,
    ledger: Ledger | None = None,
    sidecar: Sidecar | None = None,
    on_error: OnError = "stop",
) -> list[Any]:
    """Reward functions for TRL, in front of which a guard stands.

    Give **all** of the result, and no other function, to the trainer: TRL leaves a completion out
    only if every function returns None for it. Each function keeps its name, is asked once a batch,
    and may be a coroutine function. The guard is asked once a batch, with all completions of it.
    A column `sender` names the senders, a column `question` is what a judge reads.

    Args:
        guard: the guard.
        reward_funcs: TRL's reward functions, callables only.
        weights: `args.reward_weights`; 1 for each if None.
        tokenizer: the trainer's `processing_class`, with which the guard reads all tokens, those
            too that TRL's texts leave out; the guard's own if None.
        num_generations: size of a group; if None, completions with equal prompts are a group.
        ledger, sidecar: counts by sender, and a file for all verdicts.
        on_error: `monitor`: let a batch pass if the guard crashes, and log it.

    Raises:
        ValueError: a reward is the name of a model, or a model, which cannot be wrapped.
    """
    funcs = [reward_funcs] if callable(reward_funcs) else list(reward_funcs)
    for func in funcs:
        if not callable(func) or hasattr(func, "named_parameters"):
            raise ValueError(
                f"the reward {func if isinstance(func, str) else type(func).__name__!r:.80} is a "
                "model, which cannot be wrapped; use GuardMixin"
            )
    if weights is not None and len(weights) != len(funcs):
        raise ValueError(f"{len(funcs)} reward functions and {len(weights)} weights")
    shared = _Shared(
        Watch(guard, ledger, sidecar, on_error),
        funcs,
        list(weights) if weights is not None else [1.0] * len(funcs),
        None if tokenizer is None else Codec(tokenizer),
        num_generations,
    )
    return [(_Async if is_async(func) else _Sync)(shared, i) for i, func in enumerate(funcs)]


def is_async(func: Any) -> bool:
    while isinstance(func, functools.partial):
        func = func.func
    return inspect.iscoroutinefunction(func) or inspect.iscoroutinefunction(func.__call__)


def shared_of(trainer: Any) -> _Shared | None:
    """What the wrapped functions of a trainer share; None if it has none.

    Raises:
        ValueError: some of its reward functions are wrapped, and some are not.
    """
    funcs = list(trainer.reward_funcs)
    found = [func.shared for func in funcs if isinstance(func, _Wrapped)]
    if found and (len(found) < len(funcs) or len(found) < len(found[0].funcs)):
        raise ValueError(
            "give the trainer all that `wrap` returned, and no other reward function: a refused "
            "completion drops out only if every function returns None"
        )
    return found[0] if found else None


@dataclass(slots=True)
class _Open:
    """A batch for which TRL has asked some of the functions."""

    completions: Any  # TRL's own list, which is the same for every function of a batch
    lock: threading.Lock = field(default_factory=threading.Lock)
    asked: set[int] = field(default_factory=set)
    told: list[list[float | None]] | None = None


class _Shared:
    """What the wrapped functions of one trainer have in common."""

    def __init__(
        self,
        watch: Watch,
        funcs: Sequence[Callable[..., Any]],
        weights: Sequence[float],
        codec: Codec | None,
        num_generations: int | None,
    ) -> None:
        self.watch, self.funcs, self.weights = watch, funcs, weights
        self._own_codec, self.num_generations = codec, num_generations
        self._start()

    def _start(self) -> None:
        self._lock, self._guarding = threading.Lock(), threading.Lock()
        self._open: dict[int, _Open] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        # What `rollout_func` saw of the batch to come; the tokens are its address.
        self._foreseen: tuple[Sequence[Sequence[int]], Seen] | None = None

    def __getstate__(self) -> dict[str, Any]:
        names = ("watch", "funcs", "weights", "_own_codec", "num_generations")
        return {name: getattr(self, name) for name in names}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()

    @property
    def codec(self) -> Codec | None:
        return self._own_codec or self.watch.guard.codec

    def foresee(self, completion_ids: Sequence[Sequence[int]], seen: Seen) -> None:
        self._foreseen = ([list(row) for row in completion_ids], seen)

    def column(self, index: int, columns: Mapping[str, Any]) -> list[float | None]:
        """The rewards of one function, for which all functions and the guard are asked once."""
        batch = self._batch(index, columns["completions"])
        with batch.lock:
            if batch.told is None:
                batch.told = self._judge(columns)
        return batch.told[index]

    def _batch(self, index: int, completions: Any) -> _Open:
        key = id(completions)  # it is not freed while it is in the table
        with self._lock:
            batch = self._open.get(key)
            if batch is None:
                batch = self._open[key] = _Open(completions)
            batch.asked.add(index)
            if len(batch.asked) == len(self.funcs):
                del self._open[key]
            if len(self._open) > _MOST_OPEN:
                raise ValueError(
                    f"of {len(self.funcs)} wrapped functions, TRL asked only some; give the "
                    "trainer all that `wrap` returned"
                )
        return batch

    def _judge(self, columns: Mapping[str, Any]) -> list[list[float | None]]:
        batch = Batch.of(columns)
        environments = columns.get("environments") or ()
        if any(hasattr(environment, "get_reward") for environment in environments):
            raise ValueError("an environment gives a reward of its own; use GuardMixin")
        rewards = self._rewards(columns, len(batch.prompts))
        rows = batch.rows(
            total(rewards, self.weights),
            codec=self.codec,
            num_generations=self.num_generations,
        )
        state = columns.get("trainer_state")
        with self._guarding:
            seen, masked = self._seen(batch), True
            if seen is None:
                self.require_whole()
                seen = self.watch.look(rows, None if state is None else int(state.global_step))
                masked = False
        if not masked:
            for treatment in seen.treatments:
                require_expressible(treatment)
        log(seen, columns.get("log_extra"), columns.get("log_metric"))
        return changed(rewards, seen.treatments, [row.group for row in rows])

    def _seen(self, batch: Batch) -> Seen | None:
        foreseen, self._foreseen = self._foreseen, None
        if foreseen is None or foreseen[0] != [list(row) for row in batch.completion_ids]:
            return None
        return foreseen[1]

    def require_whole(self) -> None:
        """Refuse a guard that hides tokens: reward functions can only leave out whole completions.

        Raises:
            ValueError: one line that names the other ways.
        """
        guard = self.watch.guard
        if "mask" in guard.rules.by_defense.values():
            raise ValueError(f'reward functions cannot express on_reject = "mask"; {USE_MIXIN}')
        for defense in guard.defenses:
            refuses = getattr(defense, "mode", None) == "refuse"
            monitors = guard.rules.by_defense[defense.name] == "monitor"
            if defense.name in _CREDITING and not (refuses or monitors) and guard.codec:
                raise ValueError(
                    f"the defence {defense.name!r} gives credit to single tokens, which reward "
                    f"functions cannot express; {USE_MIXIN}"
                )

    def _rewards(self, columns: Mapping[str, Any], num: int) -> Rewards:
        waiting = {
            i: asyncio.run_coroutine_threadsafe(_awaited(func, columns), self._running_loop())
            for i, func in enumerate(self.funcs)
            if is_async(func)
        }
        told = {i: f(**columns) for i, f in enumerate(self.funcs) if i not in waiting}
        told |= {i: future.result() for i, future in waiting.items()}
        for i, rewards in told.items():
            if len(rewards) != num:
                name = _name(self.funcs[i])
                raise ValueError(
                    f"the reward function {name!r} returned {len(rewards)} rewards for {num} "
                    "completions"
                )
        return [
            [None if r is None or math.isnan(r) else float(r) for r in told[i]]
            for i in range(len(self.funcs))
        ]

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        """One loop for all batches, as clients of a service are bound to theirs."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(
                    target=self._loop.run_forever, name="swarmproof-rewards", daemon=True
                ).start()
            return self._loop


async def _awaited(func: Callable[..., Any], columns: Mapping[str, Any]) -> Any:
    return await func(**columns)


def require_expressible(treatment: Treatment) -> None:
    if treatment.votes and not treatment.trains:
        raise ValueError(f"a defence masks a completion, and reward functions cannot; {USE_MIXIN}")
    if treatment.votes and any(credit != 1 for credit in treatment.token_credit or ()):
        raise ValueError(
            f"a defence gives credit to single tokens, which reward functions cannot; {USE_MIXIN}"
        )


def log(seen: Seen, extra: Callable[..., Any] | None, metric: Callable[..., Any] | None) -> None:
    """Put the verdicts into TRL's table of completions, and their share into its metrics."""
    if extra is not None and seen.columns:
        for name in seen.columns[0]:
            extra(name, [row[name] for row in seen.columns])
    if metric is not None:
        metric("guard/refused_share", seen.refused_share)
        metric("guard/failed", float(seen.failed))


def _name(func: Any) -> str:
    while isinstance(func, functools.partial):
        func = func.func
    return str(getattr(func, "__name__", type(func).__name__))


class _Wrapped:
    def __init__(self, shared: _Shared, index: int) -> None:
        self.shared, self.index = shared, index
        self.__name__ = _name(shared.funcs[index])  # TRL's columns and metrics have this name


class _Sync(_Wrapped):
    def __call__(self, **columns: Any) -> list[float | None]:
        return self.shared.column(self.index, columns)


class _Async(_Wrapped):
    async def __call__(self, **columns: Any) -> list[float | None]:
        return await asyncio.to_thread(self.shared.column, self.index, columns)
