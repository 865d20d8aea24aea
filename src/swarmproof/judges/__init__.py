"""Judges: language models that are asked about completions. Importing this registers them."""

from swarmproof.judges.base import Judgement, JudgeModel, Request

__all__ = ["JudgeModel", "Judgement", "Request"]
