"""The examples in docstrings do what they show."""

from __future__ import annotations

import doctest

import pytest

import swarmproof.config.cohorts
import swarmproof.guard.guard
import swarmproof.types


@pytest.mark.parametrize(
    "module", [swarmproof.types, swarmproof.guard.guard, swarmproof.config.cohorts]
)
def test_the_examples_of_a_module(module: object) -> None:
    names = {"Group": swarmproof.types.Group}
    found = doctest.testmod(module, extraglobs=names)  # type: ignore[arg-type]
    assert found.attempted > 0
    assert found.failed == 0
