"""Defences. Importing this package registers those that ship with it."""

from swarmproof.defenses.base import Defense, DefenseView
from swarmproof.defenses.equations import Equations
from swarmproof.defenses.group_judge import GroupJudge
from swarmproof.defenses.imports import Imports
from swarmproof.defenses.judge import Judge
from swarmproof.defenses.kl_gate import KlGate
from swarmproof.defenses.length_match import LengthMatch
from swarmproof.defenses.logit import Logit
from swarmproof.defenses.max_tokens import MaxTokens
from swarmproof.defenses.novelty import Novelty
from swarmproof.defenses.perfect import Perfect
from swarmproof.defenses.replay import Replay
from swarmproof.defenses.reward_outlier import RewardOutlier
from swarmproof.defenses.self_judge import SelfJudge
from swarmproof.defenses.signature import Signature
from swarmproof.defenses.spurious_tokens import SpuriousTokens
from swarmproof.defenses.surprise import Surprise
from swarmproof.defenses.token_credit import TokenCredit

__all__ = [
    "Defense",
    "DefenseView",
    "Equations",
    "GroupJudge",
    "Imports",
    "Judge",
    "KlGate",
    "LengthMatch",
    "Logit",
    "MaxTokens",
    "Novelty",
    "Perfect",
    "Replay",
    "RewardOutlier",
    "SelfJudge",
    "Signature",
    "SpuriousTokens",
    "Surprise",
    "TokenCredit",
]
