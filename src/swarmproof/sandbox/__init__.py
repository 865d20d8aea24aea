"""Sandboxes: the only place where programs that peers wrote may run."""

from typing import Annotated

from pydantic import Field

from swarmproof.sandbox.base import Result, Sandbox
from swarmproof.sandbox.cpython import CPython
from swarmproof.sandbox.monty import Monty

AnySandbox = Annotated[Monty | CPython, Field(discriminator="name")]

__all__ = ["AnySandbox", "CPython", "Monty", "Result", "Sandbox"]
