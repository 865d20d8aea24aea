"""Attacks. Importing this package registers those that ship with it."""

from swarmproof.attacks.base import Attack
from swarmproof.attacks.text import Text

__all__ = ["Attack", "Text"]
