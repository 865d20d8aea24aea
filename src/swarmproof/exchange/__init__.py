"""How completions travel. Importing this package registers the exchanges that ship with it."""

from swarmproof.exchange.base import Channel, Exchange
from swarmproof.exchange.memory import Memory

__all__ = ["Channel", "Exchange", "Memory"]
