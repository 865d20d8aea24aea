"""`rollout_func`: peers' completions in TRL's `GRPOTrainer`.

Peers' completions are hostile input. What is malformed becomes a placeholder that neither votes
nor trains; log-probabilities are computed here and never believed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from swarmproof.exchange.admission import admit
from swarmproof.guard.guard import Guard
from swarmproof.integrations.trl.batches import MALFORMED, SENDER, Batch, prompt_text, sender_of
from swarmproof.integrations.trl.mixin import GuardMixin
from swarmproof.integrations.trl.rewards import shared_of
from swarmproof.integrations.watch import Treatment, Watch
from swarmproof.policies.codec import Codec
from swarmproof.types import Completion, NodeId, Slot, Tokens

# A sender with the text or the tokens of its completion; None: the trainer's model draws it.
Sent = tuple[NodeId, str | Sequence[int] | None]
Source = Callable[[list[Any]], Sequence[Sent]] | Iterable[Sequence[Sent]]
TextReward = Callable[[Sequence[Any], Sequence[str]], Sequence[float]]


def rollout_func(
    guard: Guard,
    source: Source,
    *,
    reward: TextReward | None = None,
) -> Callable[[list[Any], Any], dict[str, Any]]:
    """A `rollout_func` for `GRPOTrainer` that trains on peers' completions behind a guard.

    The trainer's reward functions must be wrapped with the same guard, or the trainer be a
    `GuardMixin` with it. They receive the senders in the column `sender`.

    Args:
        guard: the guard.
        source: called with the prompts of a batch, each repeated `num_generations` times, it
            returns for each one `(sender, text)`, `(sender, token ids)`, or `(sender, None)` for a
            completion that the trainer's own model is to draw. Or an iterable with such a list for
            each batch.
        reward: with wrapped functions only, the rewards of (prompts, texts). With it the guard is
            asked before TRL builds its masks: what it drops or masks, single tokens too, is masked
            by `env_mask` and leaves the loss, its normaliser and the KL term. It must give
            the weighted sum of the reward functions, which do not vote about this batch again.

    Raises:
        ValueError: at the first batch: the trainer has no or another guard. Later: the source
            does not give one completion for each prompt, or has ended.
    """
    return _Rollouts(guard, source, reward)


class _Rollouts:
    def __init__(self, guard: Guard, source: Source, reward: TextReward | None) -> None:
        self._guard, self._reward = guard, reward
        self._source: Callable[[list[Any]], Sequence[Sent]] = (
            source if callable(source) else _Batches(iter(source))
        )

    def __call__(self, prompts: list[Any], trainer: Any) -> dict[str, Any]:
        watch = self._watch(trainer)
        tokenizer = getattr(trainer.processing_class, "tokenizer", trainer.processing_class)
        embeddings = trainer.accelerator.unwrap_model(trainer.model).get_input_embeddings()
        codec = Codec(tokenizer, embeddings.weight.shape[0], getattr(trainer, "eos_token_ids", ()))
        template = getattr(trainer, "chat_template_kwargs", None)
        prompt_ids = [_prompt_ids(prompt, codec, template) for prompt in prompts]
        if not trainer.model.training:  # an evaluation is of the trainer's own model
            sent: list[Sent] = [("trainer", None)] * len(prompts)
        else:
            sent = list(self._source(prompts))
        if len(sent) != len(prompts):
            raise ValueError(f"the source gave {len(sent)} completions for {len(prompts)} prompts")
        ids, faults = _admitted(sent, codec, trainer.max_completion_length)
        missing = [i for i, one in enumerate(sent) if one[1] is None]
        drawn = _draw(trainer, [prompt_ids[i] for i in missing])
        ids |= {i: tuple(row) for i, row in zip(missing, drawn, strict=True)}
        rows = [list(ids.get(i, (codec.eos_token_id,))) for i in range(len(sent))]
        output: dict[str, Any] = {
            "prompt_ids": prompt_ids,
            "completion_ids": rows,
            "logprobs": _logprobs(trainer, prompt_ids, rows),
            SENDER: [sender_of(one[0]) for one in sent],
            MALFORMED: [faults.get(i, "") for i in range(len(sent))],
        }
        if self._reward is not None and trainer.model.training:
            output["env_mask"] = self._mask(watch, trainer, codec, prompts, output)
        return output

    def _watch(self, trainer: Any) -> Watch:
        shared = shared_of(trainer)
        if shared is None and not isinstance(trainer, GuardMixin):
            raise ValueError(
                "completions of peers, and nothing refuses any; wrap the reward functions with the "
                "guard, or use GuardMixin"
            )
        watch = shared.watch if shared is not None else trainer.guard_watch
        if watch.guard is not self._guard:
            raise ValueError("rollout_func and the reward functions have different guards")
        if self._reward is not None and shared is None:
            raise ValueError("GuardMixin masks by itself; leave `reward` out of rollout_func")
        return watch

    def _mask(
        self,
        watch: Watch,
        trainer: Any,
        codec: Codec,
        prompts: Sequence[Any],
        output: Mapping[str, Any],
    ) -> list[list[int]]:
        """Ask the guard now; 1 for each token that stays in the loss."""
        ids = output["completion_ids"]
        shared = shared_of(trainer)
        assert self._reward is not None
        assert shared is not None
        shown = codec.tokenizer.batch_decode(ids, skip_special_tokens=True)
        rewards = list(self._reward(prompts, shown))
        if len(rewards) != len(prompts):
            raise ValueError(f"`reward` gave {len(rewards)} rewards for {len(prompts)} completions")
        batch = Batch(prompts, shown, ids, senders=output[SENDER], malformed=output[MALFORMED])
        rows = batch.rows(rewards, codec=codec, num_generations=shared.num_generations)
        seen = watch.look(rows, int(trainer.state.global_step))
        masks = [_kept(o, len(row)) for o, row in zip(seen.treatments, ids, strict=True)]
        shared.foresee(ids, seen)
        return masks


class _Batches:
    """An iterable of batches as a function of the prompts."""

    def __init__(self, batches: Iterator[Sequence[Sent]]) -> None:
        self._batches = batches

    def __call__(self, prompts: list[Any]) -> Sequence[Sent]:
        batch = next(self._batches, None)
        if batch is None:
            raise ValueError(f"the source has ended, and {len(prompts)} prompts wait")
        return batch


def _prompt_ids(prompt: Any, codec: Codec, template: Mapping[str, Any] | None) -> list[int]:
    if isinstance(prompt, str) or codec.tokenizer.chat_template:
        return list(codec.tokenizer(prompt_text(prompt, codec, template)).input_ids)
    raise ValueError("the prompts are conversations, and the tokenizer has no chat template")


def _admitted(
    sent: Sequence[Sent], codec: Codec, limit: int
) -> tuple[dict[int, Tokens], dict[int, str]]:
    """Tokens of all well-formed completions by place, and the fault of each malformed one."""
    claims: list[Completion] = []
    faults: dict[int, str] = {}
    for i, one in enumerate(sent):
        told, slot = one[1], Slot(0, "", i)
        if told is None:
            continue
        if isinstance(told, str):
            claims.append(Completion(slot, sender_of(one[0]), told, None))
        elif not _are_ids(told):
            faults[i] = "not-tokens: neither a text nor a sequence of whole numbers"
        elif not told or not codec.known_ids.issuperset(told):
            faults[i] = "unknown-token: no tokens, or one outside the vocabulary"
        else:
            ids = tuple(told)
            claims.append(Completion(slot, sender_of(one[0]), codec.decode([ids])[0], ids))
    admitted, refusals = admit(claims, codec, limit)
    for refusal in refusals:
        assert refusal.slot is not None
        faults[refusal.slot.index] = f"{refusal.code}: {refusal.reason}"
    return {c.slot.index: c.token_ids or () for c in admitted}, faults


def _are_ids(told: object) -> bool:
    if not isinstance(told, Sequence):
        return False
    return all(isinstance(token, int) and not isinstance(token, bool) for token in told)


def _kept(treatment: Treatment, length: int) -> list[int]:
    credit = treatment.token_credit
    if not treatment.trains:
        return [0] * length
    if credit is None:
        return [1] * length
    if len(credit) != length:
        raise ValueError(f"not aligned: {length} tokens and {len(credit)} credits")
    if not {0.0, 1.0}.issuperset(credit):
        raise ValueError(
            "a defence gives credits other than 0 and 1, which env_mask cannot express; use "
            "GuardMixin"
        )
    return [int(value) for value in credit]


def _draw(trainer: Any, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """Completions by the trainer's model at its own sampling settings."""
    if not prompts:
        return []
    model = trainer.accelerator.unwrap_model(trainer.model)
    ids, mask = _left_padded(prompts, model.device)
    training = model.training
    with torch.no_grad():
        rows = model.eval().generate(
            input_ids=ids, attention_mask=mask, generation_config=trainer.generation_config
        )
    model.train(training)
    ends = set(trainer.eos_token_ids)
    return [_cut(row, ends) for row in rows[:, ids.shape[1] :].tolist()]


def _cut(row: list[int], ends: set[int]) -> list[int]:
    """Without the padding behind the first end-of-text."""
    return row[: next((i + 1 for i, token in enumerate(row) if token in ends), len(row))]


def _left_padded(rows: Sequence[Sequence[int]], device: Any) -> tuple[Tensor, Tensor]:
    width = max(map(len, rows))
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, width - len(row) :] = torch.tensor(row)
        mask[i, width - len(row) :] = 1
    return ids.to(device), mask.to(device)


def _logprobs(
    trainer: Any, prompts: Sequence[Sequence[int]], rows: Sequence[Sequence[int]]
) -> list[list[float]] | None:
    """Log-probabilities of the tokens under the trainer's present weights, at its temperature.

    None where TRL does not read them: it uses them to correct for vLLM, and to mask what is far
    off its policy.
    """
    corrects = trainer.use_vllm and trainer.vllm_importance_sampling_correction
    if not corrects and trainer.off_policy_mask_threshold is None:
        return None
    model = trainer.accelerator.unwrap_model(trainer.model)
    size = trainer.args.per_device_train_batch_size
    told: list[list[float]] = []
    for start in range(0, len(rows), size):
        pairs = list(zip(prompts[start : start + size], rows[start : start + size], strict=True))
        ids, mask = _left_padded([[*prompt, *row] for prompt, row in pairs], model.device)
        with torch.no_grad():
            logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
        logps = (logits / trainer.temperature).log_softmax(-1)
        logps = logps.gather(-1, ids[:, 1:, None]).squeeze(-1)
        told += [logps[i, logps.shape[1] - len(row) :].tolist() for i, (_, row) in enumerate(pairs)]
    return told
