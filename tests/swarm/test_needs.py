"""The planner counts what the code keeps: its formulas against tensors."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import weakref
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from models import save_random_llama
from swarmproof.config import TrialConfig
from swarmproof.engines import capacity
from swarmproof.policies import loss, policy, sampler
from swarmproof.policies.attention import NAME as PACKED
from swarmproof.policies.attention import DecodeLayout
from swarmproof.policies.loss import PackedBatch
from swarmproof.policies.shapes import shape_of
from swarmproof.swarm import needs
from swarmproof.swarm.assembly import assemble
from swarms import trial_config

PROMPT = needs.PROMPT_TOKENS


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wide enough that what is not counted, such as positions, is small."""
    return save_random_llama(
        tmp_path_factory.mktemp("models") / "llama", hidden=192, heads=(6, 2), layers=3
    )


class Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the storages that operations made and that are still there."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.storages: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for tensor in found if isinstance(found, tuple | list) else (found,):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self.storages:
                    self.storages[storage._cdata] = storage.nbytes()
                    weakref.finalize(storage, self.storages.pop, storage._cdata, None)
        return found


def kept(model: Any, batch: PackedBatch) -> int:
    """Bytes that are there after a pass and were not before it, without weights and logits."""
    with Live() as live:
        logits = loss.token_logits(model, batch)
    weights = {p.untyped_storage()._cdata for p in model.parameters()}
    weights.add(logits.untyped_storage()._cdata)
    return sum(size for key, size in live.storages.items() if key not in weights)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("length", [60, 400])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_activations_are_what_a_pass_keeps(
    llama: Path, dtype: str, length: int, checkpointing: bool
) -> None:
    model_table = {"path": str(llama), "dtype": dtype, "gradient_checkpointing": checkpointing}
    group = PROMPT + 6 * length
    config = trial_config(
        llama,
        model=model_table,
        batch={"problems": 4, "group_size": 6},
        swarm={"nodes": 2, "malicious": 1},
        sampling={"max_new_tokens": length},
        grpo={"micro_batch_tokens": group},
    )
    found = needs.of_trial(config)
    assert found is not None
    model = policy.train(config.model, config.grpo, config.sampling).model
    batch = PackedBatch(((1,) * PROMPT,), (tuple((2,) * length for _ in range(6)),))
    counted = kept(model, batch)
    expected = found.activations / (1 + needs.LOST)
    if checkpointing:  # the layer that is computed again is not kept
        expected -= group * needs._kept(
            _shape(llama), 2 if dtype == "bfloat16" else 4, length, PROMPT
        )
    assert counted == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize(("evaluated", "prompts"), [(2, 0.8 * 24), (40, 40)])
def test_solved_examples_before_every_prompt_are_held_by_the_draws(
    llama: Path, evaluated: int, prompts: float
) -> None:
    """Once by each row of an evaluation, and by each row that is left when groups are cut."""

    def draws(shots: int) -> float:
        config = trial_config(
            llama,
            batch={"problems": 4, "group_size": 6},
            swarm={"nodes": 2, "malicious": 1},
            sampling={"max_new_tokens": 60},
            evaluation={"problems": evaluated},
            warmup={"problems": 8, "shots": shots},
            rounds=1,
        )
        found = needs.of_trial(config)
        assert found is not None
        return found.draws

    model = AutoModelForCausalLM.from_pretrained(llama, attn_implementation=PACKED)

    def held(length: int) -> int:
        with torch.inference_mode():
            layout, _ = sampler.prefill(model, [[1] * length])
        return sum(x.untyped_storage().nbytes() for pair in layout.keys.values() for x in pair)

    more = prompts * (held(9 * PROMPT) - held(PROMPT))
    assert draws(4) - draws(0) == pytest.approx(more, rel=1e-6)


@pytest.mark.parametrize(
    ("problems", "group", "length", "shots", "ended"),
    [(16, 8, 80, 0, 1 / 64), (2, 4, 130, 0, 0), (8, 12, 48, 4, 1 / 40), (12, 4, 48, 4, 1 / 40)],
    ids=["short prompts", "the cache grows to the limit", "long prompts", "small groups"],
)
def test_draws_hold_what_is_planned(
    llama: Path, monkeypatch: pytest.MonkeyPatch, problems: int, group: int, length: int,
    shots: int, ended: float,
) -> None:  # fmt: skip
    config = trial_config(
        llama,
        batch={"problems": problems, "group_size": group},
        swarm={"nodes": 2, "malicious": 1},
        sampling={"max_new_tokens": length, "top_k": 0},
        evaluation={"problems": 1},
        warmup={"problems": 8, "shots": shots},
        rounds=1,
    )
    planned = needs.of_trial(config)
    assert planned is not None
    model = AutoModelForCausalLM.from_pretrained(llama, attn_implementation=PACKED)
    words = _shape(llama).words
    held: list[float] = []
    advance = sampler.advance

    def watched(model: Any, decode: DecodeLayout, tokens: Tensor, positions: Tensor) -> Tensor:
        logits = advance(model, decode, tokens, positions)
        pairs = [*decode.prefix.values(), *decode.own.values()]
        cache = sum(x.untyped_storage().nbytes() for pair in pairs for x in pair)
        held.append(cache + 16 * words * len(tokens))
        return logits

    monkeypatch.setattr(sampler, "advance", watched)
    rng = Random(0)
    prompts = [rng.choices(range(words), k=PROMPT * (1 + 2 * shots)) for _ in range(problems)]
    seeds = [[rng.getrandbits(62) for _ in range(group)] for _ in range(problems)]
    # The weights are random, so that each word is drawn about as often.
    sampler.generate(model, prompts, seeds, config.sampling, range(round(words * ended)))
    assert max(held) == pytest.approx(planned.draws, rel=0.15)


def _shape(path: Path) -> Any:
    shape = shape_of(str(path))
    assert shape is not None
    return shape


@pytest.mark.parametrize("tied", ["llama", "qwen2"])
def test_a_shape_has_the_parameters_of_the_model(
    tied: str, llama: Path, random_model: Path
) -> None:
    folder = llama if tied == "llama" else random_model
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation=PACKED)
    count = sum(p.numel() for p in model.parameters())
    # Qwen2 has biases, which are not counted.
    assert _shape(folder).parameters == pytest.approx(count, rel=0.01)


@pytest.mark.parametrize(
    "changes",
    [{"num_experts": 8}, {"num_local_experts": 8}, {"n_routed_experts": 8},
     {"moe_num_experts": [64, 64]}, {"text_config": {"moe_num_experts": 8}},
     {"num_attention_heads": 0, "head_dim": None}, {"hidden_size": "wide"},
     {"hidden_size": -192}, {"hidden_size": math.nan}, {"num_hidden_layers": 2.5},
     {"head_dim": 0}, {"num_key_value_heads": "2"}, {"vocab_size": True},
     {"hidden_size": "w" * 1000, "head_dim": 32, "vocab_size": 10**13}],
)  # fmt: skip
def test_a_config_of_another_kind_has_no_shape(
    llama: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    table = json.loads((llama / "config.json").read_text()) | changes
    (tmp_path / "config.json").write_text(json.dumps(table))
    assert shape_of(str(tmp_path)) is None
    (tmp_path / "config.json").write_text("[1]")
    assert shape_of(str(tmp_path)) is None


def _told_by(path: Path, table: dict[str, Any]) -> Any:
    (path / "config.json").write_text(json.dumps(table))
    return shape_of(str(path))


def test_every_mixture_of_experts_of_transformers_has_no_shape(tmp_path: Path) -> None:
    found = {"moe": 0, "dense": 0}
    for kind, config_class in CONFIG_MAPPING.items():
        try:
            table = json.loads(config_class().to_json_string(use_diff=False))
        except (TypeError, ValueError, AttributeError, ImportError, StrictDataclassError):
            continue  # it has no default, or needs a package
        told = _told_by(tmp_path, table)
        if kind in ("hunyuan_v1_moe", "qwen3_omni_moe_talker_code_predictor"):
            continue  # one expert by default; a dense part of a larger model
        if "moe" in kind or kind in ("mixtral", "dbrx", "aria_text", "olmoe", "phimoe", "gpt_oss"):
            assert told is None, kind
            found["moe"] += 1
        elif kind in ("llama", "qwen2", "qwen3", "mistral", "gemma", "phi3", "olmo2", "ernie4_5"):
            assert told is not None, kind
            found["dense"] += 1
    assert found["dense"] == 8
    assert found["moe"] > 20


def test_a_single_expert_is_a_dense_model(llama: Path, tmp_path: Path) -> None:
    table = json.loads((llama / "config.json").read_text())
    for number in (0, 1, None):
        assert _told_by(tmp_path, table | {"num_experts": number}) == _shape(llama)


def test_a_plan_of_a_config_of_texts_is_no_traceback(llama: Path, tmp_path: Path) -> None:
    path = shutil.copytree(llama, tmp_path / "model")
    table = json.loads((path / "config.json").read_text())
    words = {"hidden_size": "w" * 1000, "head_dim": 32, "vocab_size": 10**13}
    (path / "config.json").write_text(json.dumps(table | words))
    done = subprocess.run(
        [sys.executable, "-m", "swarmproof", "run", "text-horizontal", "--plan",
         "--set", f"model.path={path}"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_what_stays_is_counted_by_type(llama: Path) -> None:
    count = _shape(llama).parameters

    def parts(dtype: str, **grpo: Any) -> needs.Needs:
        table = {"path": str(llama), "dtype": dtype}
        found = needs.of_trial(trial_config(llama, model=table, grpo=grpo))
        assert found is not None
        return found

    full, half, kl = parts("float32"), parts("bfloat16"), parts("float32", beta=0.1)
    assert (full.weights, full.masters, full.optimiser) == (4 * count, 0, 8 * count)
    assert (half.weights, half.masters, half.optimiser) == (2 * count, 4 * count, 8 * count)
    assert (full.reference, kl.reference) == (0, 4 * count)
    assert kl.peak - full.peak == pytest.approx(4 * count)
    assert needs.checkpoint_bytes(trial_config(llama)) == 12 * count


def limited(llama: Path, gb: float | None) -> TrialConfig:
    table: dict[str, Any] = {"path": str(llama)}
    if gb is not None:
        table["memory_gb"] = gb
    return trial_config(
        llama,
        model=table,
        task={"name": "math_words", "train": 64, "test": 64},
        batch={"problems": 64, "group_size": 4},
        sampling={"max_new_tokens": 512},
        grpo={"micro_batch_tokens": 1},
    )


def test_draws_are_cut_to_the_memory_that_is_given(llama: Path) -> None:
    free = needs.of_trial(limited(llama, None))
    assert free is not None
    gb = (free.kept + max(free.draws / 2, free.learning)) / needs.GB
    config = limited(llama, gb)
    room = needs.room(config, _shape(llama))
    each = needs.token_bytes(config, _shape(llama)) * (1 + needs.LOST)
    assert room < needs.room(limited(llama, None), _shape(llama)) == needs.AT_ONCE
    assert room * each == pytest.approx(gb * needs.GB - free.kept, rel=1e-3)
    planned = needs.of_trial(config)
    assert planned is not None
    assert planned.peak <= gb * needs.GB * (1 + 1e-9)
    assert assemble(config, 0).cohorts[0].policy.generator.room == room  # type: ignore[attr-defined]


def test_too_little_memory_is_said_with_what_is_needed(llama: Path) -> None:
    free = needs.of_trial(limited(llama, None))
    assert free is not None
    least = (free.kept + free.learning) / needs.GB
    with pytest.raises(ValueError, match=r"memory_gb is 0\.2, .* about (\S+) GB even") as caught:
        needs.require_limit(limited(llama, 0.2))
    assert f"{least:.1f} GB" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_config_without_a_limit_is_what_it_was(llama: Path) -> None:
    assert "memory_gb" not in limited(llama, None).model_dump()["model"]


def test_no_estimate_for_a_model_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "mamba", "hidden_size": 8}')
    assert needs.of_trial(trial_config(tmp_path)) is None
    assert needs.checkpoint_bytes(trial_config(tmp_path)) is None


EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2}


def with_experts(llama: Path, folder: Path) -> Path:
    """Its config tells of experts, so the planner does not know its shape; its weights load."""
    path = Path(shutil.copytree(llama, folder / "experts"))
    table = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(table | EXPERTS))
    return path


def test_a_limit_that_cannot_be_kept_is_refused_and_not_ignored(
    llama: Path, tmp_path: Path
) -> None:
    path = with_experts(llama, tmp_path)
    needs.require_limit(limited(path, None))
    assert assemble(limited(path, None), 0).cohorts
    words = rf"^model\.memory_gb is 2, and .*{path}.* not known.*mixture of experts.*leave .* out"
    for ask in (needs.require_limit, lambda config: assemble(config, 0)):
        with pytest.raises(ValueError, match=words) as caught:
            ask(limited(path, 2.0))
        assert "\n" not in str(caught.value)
    # One of several models is enough.
    swarm = {"models": [str(llama), str(path)]}
    model = {"memory_gb": 2.0}
    with pytest.raises(ValueError, match=words):
        needs.require_limit(trial_config(llama, swarm=swarm, model=model))


def test_a_plan_does_not_make_up_the_size_of_checkpoints(llama: Path, tmp_path: Path) -> None:
    known, other = trial_config(llama), trial_config(with_experts(llama, tmp_path))
    lines = [*capacity.lines({"a": known, "b": other}, 2)]
    assert "checkpoints of 4 trials: unknown" in lines
    (line,) = (x for x in capacity.lines({"a": known}, 2) if x.startswith("checkpoints"))
    assert line.endswith(" GB on disk")


def test_the_passes_of_a_single_round_find_no_moments_of_adam(llama: Path) -> None:
    many, one = (needs.of_trial(trial_config(llama, rounds=n, grpo={"lr": 1e-3})) for n in (2, 1))
    assert many is not None
    assert one is not None
    assert one.activations * (1 + needs.LOST) == pytest.approx(many.activations)
    passes = one.gradients + one.activations + one.logits
    with_step = one.gradients + one.masters + one.optimiser
    assert one.peak == pytest.approx(one.kept - one.optimiser + max(passes, with_step))


def test_another_engine_holds_a_copy_of_the_weights_and_its_cache(llama: Path) -> None:
    ours = needs.of_trial(trial_config(llama))
    theirs = needs.of_trial(trial_config(llama, generator={"name": "vllm", "cache_gb": 1.5}))
    assert ours is not None
    assert theirs is not None
    assert (ours.generator, theirs.draws) == (0, 0)
    assert theirs.generator == ours.weights + 1.5e9
    assert theirs.kept == ours.kept + theirs.generator
