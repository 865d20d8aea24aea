"""Attacks. Importing this package registers those that ship with it."""

from swarmproof.attacks.base import Attack, AttackView
from swarmproof.attacks.code_injection import CodeInjection
from swarmproof.attacks.copying import Copying
from swarmproof.attacks.equation import Equation
from swarmproof.attacks.equation_forms import EquationForms
from swarmproof.attacks.junk import Junk
from swarmproof.attacks.length import Length
from swarmproof.attacks.length_mix import LengthMix
from swarmproof.attacks.length_replay import LengthReplay
from swarmproof.attacks.mixed import Mixed
from swarmproof.attacks.poison import Frame, Poison
from swarmproof.attacks.text import Text
from swarmproof.attacks.text_in_support import TextInSupport
from swarmproof.attacks.text_variants import TextVariants

__all__ = [
    "Attack",
    "AttackView",
    "CodeInjection",
    "Copying",
    "Equation",
    "EquationForms",
    "Frame",
    "Junk",
    "Length",
    "LengthMix",
    "LengthReplay",
    "Mixed",
    "Poison",
    "Text",
    "TextInSupport",
    "TextVariants",
]
