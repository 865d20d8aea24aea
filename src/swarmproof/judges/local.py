"""LOCAL: the judge is a language model in this process.

It is fast for a tiny model on a CPU: the common prefix of a problem's completions is computed once,
batches are packed without padding, and logits are computed only at the decisions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from swarmproof.config import SamplingConfig
from swarmproof.judges import prompting
from swarmproof.judges.base import Judgement, JudgeModel, Request
from swarmproof.registry import register
from swarmproof.zoo import hub
from swarmproof.zoo.locate import config_of, locate

if TYPE_CHECKING:
    from swarmproof.judges.reader import Reader

_TINY = "tiny-judge"


@register("judge", "local")
class Local(JudgeModel):
    """Any Hugging Face causal LM, run in this process; by default the tiny judge of the zoo.

    The chat template of the tokenizer is used if there is one. Otherwise the parts of the prompt
    are joined.
    """

    path: str = Field(
        default=_TINY, description="a name in the zoo, a model directory, or a hub id"
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        default="float32", description="bfloat16 for large models on a GPU"
    )
    device: Annotated[str, Field(pattern=r"^(cpu|cuda(:\d+)?)$")] = Field(
        default="cpu", description="cpu, cuda or cuda:N"
    )
    temperature: float = Field(default=0.6, gt=0, le=10, description="for drawing tokens")
    top_k: int = Field(default=10, ge=0, description="for drawing tokens; 0: no limit")
    top_p: float = Field(default=0.9, gt=0, le=1, description="for drawing tokens")
    beams: int = Field(
        default=1,
        ge=1,
        le=16,
        description="for criticisms (paper: 3); with more than 1, requests run one by one, slowly",
    )

    @property
    def own_prompt(self) -> str:
        return _prompt_of(locate(self.path, "judge path"))

    def require(self) -> None:
        found = locate(self.path, "judge path")
        if found == self.path and not Path(self.path).exists():
            hub.require(self.path, "judge path")
        config_of(self.path, "judge path")

    def fetch(self) -> None:
        """Bring a model of the hub onto this machine.

        It is loaded, because that fetches just the files that it needs. It is needed soon anyway.
        """
        if not Path(locate(self.path, "judge path")).is_dir():
            self._reader()

    def judge(self, requests: Sequence[Request], *, max_tokens: int) -> list[Judgement]:
        sampling = SamplingConfig(
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            max_new_tokens=max_tokens,
        )
        return self._reader().read(requests, sampling, self.beams)

    def _reader(self) -> Reader:
        from swarmproof.judges import reader

        return reader.load(self.path, self.dtype, self.device)


def _prompt_of(folder: str) -> str:
    """The name of a prompt that a model's config has as `judge_prompt`; empty for most models.

    A model on the hub is not asked: what it says would be known only after its first use.

    Raises:
        ValueError: there is no prompt of this name.
    """
    file = Path(folder) / "config.json"
    if not file.is_file():
        return ""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"cannot read {file}: {error}; give another judge path") from None
    prompt = found.get("judge_prompt", "") if isinstance(found, dict) else ""
    if prompt and prompt not in prompting.SHIPPED:
        known = ", ".join(prompting.SHIPPED)
        raise ValueError(f"{file} has judge_prompt = {prompt!r:.60}; known prompts: {known}")
    return str(prompt)
