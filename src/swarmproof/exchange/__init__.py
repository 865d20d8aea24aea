"""How completions travel. Importing this package registers the exchanges that ship with it."""

from swarmproof.exchange.base import Channel, Exchange, Gathered, Session
from swarmproof.exchange.folder import Folder
from swarmproof.exchange.memory import Memory
from swarmproof.exchange.net.plugin import Net

__all__ = ["Channel", "Exchange", "Folder", "Gathered", "Memory", "Net", "Session"]
