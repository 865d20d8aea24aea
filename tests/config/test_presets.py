"""Presets are data that the registry can build, and that is explained in full."""

from __future__ import annotations

import pytest

from swarmproof import registry
from swarmproof.cli import catalogue
from swarmproof.config import presets
from swarmproof.defenses import Defense
from swarmproof.defenses.base import Setting
from swarmproof.guard.guard import Guard


@pytest.mark.parametrize("name", presets.PRESETS)
def test_every_preset_can_be_built_and_says_what_it_does_not_stop(name: str) -> None:
    preset = presets.preset(name)
    built = [registry.build(Defense, table) for table in preset.defenses]
    assert [defense.name for defense in built] == [table["name"] for table in preset.defenses]
    told = "\n".join(catalogue.explain(name))
    for part in (*preset.assumes, preset.costs, *preset.not_stopped):
        assert f"  - {part}" in told
    for defense in built:
        assert f"  {defense.name}" in told
    assert f'preset = "{name}"' in told
    assert Guard(preset=name).defenses == tuple(built)
    # It is complete: grpo.on_reject = "monitor" must not switch it off.
    assert all(defense.on_reject for defense in built)


def test_the_preset_of_a_trainer_fits_statements_and_programs() -> None:
    for programs in (False, True):
        for defense in Guard(preset="trainer").defenses:
            defense.require_in(Setting(nodes=1, programs=programs))
    assert "equations reads statements" in "\n".join(catalogue.explain("trainer"))
