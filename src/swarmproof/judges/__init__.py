"""Judges: language models that judge completions. Importing this package registers them."""

from swarmproof.judges.base import AnyJudge, Judgement, JudgeModel, Request
from swarmproof.judges.local import Local
from swarmproof.judges.openai import OpenAI

__all__ = ["AnyJudge", "JudgeModel", "Judgement", "Local", "OpenAI", "Request"]
