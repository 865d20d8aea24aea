"""The page of settings is what the program says, and every setting is described."""

from __future__ import annotations

from pathlib import Path

import pytest

from swarmproof.cli import catalogue
from swarmproof.config import TrialConfig, reference
from swarmproof.config.reference import Described

PAGE = Path(__file__).parent.parent.parent / "docs" / "settings.md"


def every() -> dict[str, Described]:
    return {s.key: s for settings in reference.sections().values() for s in settings}


def test_the_page_is_made_from_the_settings() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == reference.page(), "python -m swarmproof.config.reference > docs/settings.md"


def test_the_command_shows_what_the_page_has() -> None:
    shown = list(catalogue.describe("settings"))
    page = reference.page()
    assert len(shown) == 1 + len(every())
    for setting in every().values():
        assert any(line.startswith(f"  {setting.key} ") for line in shown)
        assert f"| `{setting.key}` |" in page


def test_every_setting_is_there_and_described() -> None:
    described = every()
    for name, info in TrialConfig.model_fields.items():
        assert name in described
        for inner in getattr(info.annotation, "model_fields", {}):
            assert f"{name}.{inner}" in described
    for setting in described.values():
        assert len(setting.description) > 10, setting.key
        assert "\n" not in setting.description
        assert "|" not in setting.description


@pytest.mark.parametrize(
    ("key", "kind", "default"),
    [
        ("rounds", "integer, 1 to 1000000", ""),
        ("swarm.nodes", "integer, 1 to 4096", "4"),
        ("swarm.models", "list of texts", "[]"),
        ("sampling.top_k", "integer, at least 0", "50"),
        ("sampling.top_p", "number, over 0, at most 1", "1.0"),
        ("grpo.clip", "number, over 0, below 1", "0.2"),
        ("grpo.scale_rewards", "true or false", "true"),
        ("model.dtype", '`"float32"` or `"bfloat16"`', '"float32"'),
        ("defenses", "list of tables", "[]"),
        ("exchange", "table", '{ name = "memory" }'),
    ],
)
def test_types_bounds_and_defaults_are_those_of_the_field(
    key: str, kind: str, default: str
) -> None:
    assert (every()[key].kind, every()[key].default) == (kind, default)
