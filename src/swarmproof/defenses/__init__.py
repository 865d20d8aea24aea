"""Defences. Importing this package registers those that ship with it."""

from swarmproof.defenses.base import Defense, DefenseView
from swarmproof.defenses.equations import Equations
from swarmproof.defenses.imports import Imports
from swarmproof.defenses.judge import Judge
from swarmproof.defenses.length_match import LengthMatch
from swarmproof.defenses.logit import Logit
from swarmproof.defenses.max_tokens import MaxTokens
from swarmproof.defenses.novelty import Novelty
from swarmproof.defenses.replay import Replay
from swarmproof.defenses.reward_outlier import RewardOutlier
from swarmproof.defenses.self_judge import SelfJudge
from swarmproof.defenses.signature import Signature
from swarmproof.defenses.surprise import Surprise

__all__ = [
    "Defense",
    "DefenseView",
    "Equations",
    "Imports",
    "Judge",
    "LengthMatch",
    "Logit",
    "MaxTokens",
    "Novelty",
    "Replay",
    "RewardOutlier",
    "SelfJudge",
    "Signature",
    "Surprise",
]
