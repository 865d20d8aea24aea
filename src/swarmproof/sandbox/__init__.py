"""Sandboxes: where programs that peers wrote are run, and nothing else of theirs ever is."""

from typing import Annotated

from pydantic import Field

from swarmproof.sandbox.base import Result, Sandbox
from swarmproof.sandbox.cpython import CPython
from swarmproof.sandbox.monty import Monty

AnySandbox = Annotated[Monty | CPython, Field(discriminator="name")]

__all__ = ["AnySandbox", "CPython", "Monty", "Result", "Sandbox"]
