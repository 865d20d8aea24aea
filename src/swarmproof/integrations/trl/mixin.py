"""`GuardMixin`: a refused completion leaves no token in the loss, its normaliser or the KL term.

It overrides two private methods of TRL's `GRPOTrainer` and `RLOOTrainer`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from swarmproof.guard.guard import Guard
from swarmproof.integrations.ledger import Ledger
from swarmproof.integrations.sidecar import Sidecar
from swarmproof.integrations.trl.batches import MALFORMED, QUESTION, SENDER, Batch, changed, total
from swarmproof.integrations.trl.callbacks import GuardCallback
from swarmproof.integrations.trl.rewards import log, shared_of
from swarmproof.integrations.watch import OnError, Seen, Treatment, Watch
from swarmproof.policies.codec import Codec

_PRIVATE: Mapping[str, Sequence[str]] = {
    "_calculate_rewards": ("self", "inputs", "prompts", "completions", "completion_ids_list"),
    "_generate_and_score_completions": ("self", "inputs"),
    "_log_completion_extra": ("self", "column", "values"),
    "_log_metric": ("self", "name", "value"),
}
_OTHER_TRL = "GuardMixin is written for TRL 1.16; install trl==1.16.*, or use wrap"


class GuardMixin:
    """A guard in a trainer of TRL: `class MyTrainer(GuardMixin, GRPOTrainer)`.

    Works with every kind of reward: functions, models and environments. All completions of the step
    are inspected, those of other processes too; those of an evaluation are not. Of
    a completion that is dropped or masked no token is left in the loss, in `num_items_in_batch`, in
    the KL term or the entropy bonus. With `GRPOTrainer`, a token credit of 0 takes a token out in
    the same way, and any other one multiplies its advantage.

    Args:
        guard: the guard.
        ledger, sidecar, on_error: as in `wrap`.

    Raises:
        ValueError: the trainer is not TRL 1.16's, or its reward functions are wrapped too.
    """

    reward_funcs: Any
    reward_weights: Any
    processing_class: Any
    accelerator: Any
    args: Any
    state: Any
    model: Any
    num_generations: int
    add_callback: Any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, expected in _PRIVATE.items():
            method = getattr(super(), name, None)
            if method is None:
                raise ValueError(f"the trainer of {cls.__name__} has no {name}; {_OTHER_TRL}")
            if tuple(inspect.signature(method).parameters) != tuple(expected):
                raise ValueError(
                    f"the trainer of {cls.__name__} has another signature of {name}; {_OTHER_TRL}"
                )

    def __init__(
        self,
        *args: Any,
        guard: Guard,
        ledger: Ledger | None = None,
        sidecar: Sidecar | None = None,
        on_error: OnError = "stop",
        **kwargs: Any,
    ) -> None:
        self.guard_watch = Watch(guard, ledger, sidecar, on_error)
        self._guard_treatments: list[Treatment] | None = None
        super().__init__(*args, **kwargs)
        if shared_of(self) is not None:
            raise ValueError("GuardMixin and wrapped reward functions; use one of them")
        if not self.accelerator.is_main_process:
            self.guard_watch.sidecar = None  # every process sees all completions
        self.add_callback(GuardCallback(self.guard_watch))
        self._guard_codec = Codec(
            getattr(self.processing_class, "tokenizer", self.processing_class),
            end_ids=getattr(self, "eos_token_ids", ()),
        )

    def _calculate_rewards(
        self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any
    ) -> Tensor:
        rewards: Tensor = super()._calculate_rewards(  # type: ignore[misc]
            inputs, prompts, completions, completion_ids_list
        )
        if not self.model.training:
            return rewards
        batch = self._all_processes(inputs, prompts, completions, completion_ids_list)
        if len(batch.prompts) != len(rewards):
            raise ValueError(
                f"not aligned: {len(batch.prompts)} completions and {len(rewards)} rewards"
            )
        told = [[None if math.isnan(r) else r for r in row] for row in rewards.T.tolist()]
        rows = batch.rows(
            total(told, self.reward_weights.tolist()),
            codec=self._guard_codec,
            template=getattr(self, "chat_template_kwargs", None),
            num_generations=self.num_generations,
        )
        seen = self.guard_watch.look(rows, self.state.global_step)
        start = self.accelerator.process_index * len(prompts)
        here = slice(start, start + len(prompts))
        self._guard_treatments = list(seen.treatments[here])
        self._guard_log(Seen(seen.treatments[here], seen.columns[here], seen.failed))
        new = changed(told, seen.treatments, [row.group for row in rows])
        values = [[math.nan if r is None else r for r in row] for row in new]
        return torch.tensor(values, dtype=rewards.dtype, device=rewards.device).T

    def _guard_log(self, seen: Seen) -> None:
        log(seen, self._log_completion_extra, self._log_metric)  # type: ignore[attr-defined]

    def _all_processes(
        self, inputs: Any, prompts: Any, completions: Any, completion_ids: Any
    ) -> Batch:
        from accelerate.utils import gather_object  # type: ignore[import-untyped]

        here: dict[str, Any] = {
            "prompts": prompts, "completions": completions, "completion_ids": completion_ids
        } | {
            name: [example.get(name) for example in inputs]
            for name in (SENDER, QUESTION, MALFORMED)
            if name in inputs[0]
        }  # fmt: skip
        return Batch.of({name: gather_object(list(values)) for name, values in here.items()})

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        self._guard_treatments = None
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)  # type: ignore[misc]
        treatments, self._guard_treatments = self._guard_treatments, None
        if treatments is None:
            return output
        for name in ("completion_mask", "advantages"):
            if name not in output:
                raise ValueError(f"the trainer's batch has no {name}; {_OTHER_TRL}")
        _mask_rows(output, treatments)
        if any(o.votes and o.token_credit is not None for o in treatments):
            self._guard_tokens(output, treatments)
        if "num_items_in_batch" in output:
            mask = output["completion_mask"] * output.get("tool_mask", 1)
            output["num_items_in_batch"] = self.accelerator.gather(mask.sum()).sum()
        return output

    def _guard_tokens(self, output: dict[str, Any], treatments: Sequence[Treatment]) -> None:
        """Token credits: 0 takes a token out, others multiply its advantage."""
        credit = _credits(output["completion_mask"], output["completion_ids"], treatments)
        if bool((credit == 1).all()):
            return
        if "num_items_in_batch" not in output:
            raise ValueError(
                "RLOOTrainer has one ratio for a whole completion, so that a defence cannot "
                "give credit to single tokens; use GRPOTrainer, or another defence"
            )
        if bool((credit == 0).any()):
            output["tool_mask"] = output.get("tool_mask", 1) * (credit != 0).long()
        factor = credit.masked_fill(credit == 0, 1.0)
        if bool((factor != 1).any()):
            if self.args.loss_type == "vespo" or self.args.off_policy_mask_threshold is not None:
                raise ValueError(
                    "with loss_type 'vespo' or off_policy_mask_threshold, TRL has one advantage "
                    "for a whole completion, and a defence gives credits other than 0 and 1"
                )
            output["advantages"] = output["advantages"].unsqueeze(1) * factor


def _mask_rows(output: dict[str, Any], treatments: Sequence[Treatment]) -> None:
    mask = output["completion_mask"]
    if len(mask) != len(treatments):
        raise ValueError(
            f"not aligned: {len(mask)} completions in the batch, {len(treatments)} seen"
        )
    trains = torch.tensor([o.trains for o in treatments], device=mask.device)
    output["completion_mask"] = mask * trains.unsqueeze(1).to(mask.dtype)
    output["advantages"] = output["advantages"] * trains
    if "old_logps" in output:  # RLOO's, summed over the tokens that are left
        output["old_logps"] = output["old_logps"] * trains


def _credits(mask: Tensor, ids: Tensor, treatments: Sequence[Treatment]) -> Tensor:
    """Credits of each token, float32 (B, T), 1 where there is none."""
    result = torch.ones(ids.shape, device=mask.device)
    for i, treatment in enumerate(treatments):
        if treatment.token_credit is None or not treatment.votes:
            continue
        length, credit = int(mask[i].sum()), treatment.token_credit
        if length and length != len(credit):  # 0: the whole completion is masked
            raise ValueError(
                f"not aligned: completion {i} has {length} tokens and {len(credit)} credits"
            )
        result[i, :length] = torch.tensor(credit[:length], device=mask.device)
    return result
