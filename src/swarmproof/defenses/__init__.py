"""Defences. Importing this package registers those that ship with it."""

from swarmproof.defenses.base import Defense, DefenseView
from swarmproof.defenses.judge import Judge
from swarmproof.defenses.logit import Logit

__all__ = ["Defense", "DefenseView", "Judge", "Logit"]
