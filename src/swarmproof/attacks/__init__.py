"""Attacks. Importing this package registers those that ship with it."""

from swarmproof.attacks.base import Attack, AttackView
from swarmproof.attacks.code_injection import CodeInjection
from swarmproof.attacks.equation import Equation
from swarmproof.attacks.length import Length
from swarmproof.attacks.poison import Frame, Poison
from swarmproof.attacks.text import Text

__all__ = ["Attack", "AttackView", "CodeInjection", "Equation", "Frame", "Length", "Poison", "Text"]
