"""Plug-ins by name: known ones are listed, unknown parameters refused, names are unique."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint

import pytest
from pydantic import Field, ValidationError

from swarmproof import registry
from swarmproof.attacks import Attack
from swarmproof.defenses import MaxTokens
from swarmproof.exchange import Channel, Exchange, Session
from swarmproof.registry import Plugin


@pytest.fixture
def exchange() -> Iterator[type[Plugin]]:
    """A plug-in with a bounded parameter, forgotten after the test."""

    @registry.register("exchange", "carrier-pigeon")
    class Pigeon(Exchange):
        """Slow."""

        birds: int = Field(default=2, ge=1, description="how many")
        speed: float = Field(default=1.0, gt=0, description="in knots")

        def connect(self, session: Session) -> Channel:
            raise NotImplementedError(session)

    yield Pigeon
    registry._registered["exchange"].pop("carrier-pigeon")


def test_a_table_becomes_the_plug_in_that_it_names(exchange: type[Plugin]) -> None:
    built = registry.build(Exchange, {"name": "carrier-pigeon", "birds": 3})
    assert isinstance(built, exchange)
    assert (built.model_dump()["birds"], built.model_dump()["speed"]) == (3, 1.0)
    assert (built.name, built.kind) == ("carrier-pigeon", "exchange")


def test_a_plug_in_does_not_change(exchange: type[Plugin]) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        exchange().birds = 5  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, "the exchange has no `name`; known: carrier-pigeon, folder, memory"),
        ({"name": "carrier-pidgeon"}, "did you mean 'carrier-pigeon'"),
        ({"name": "smoke"}, r"no exchange is called 'smoke' \(known: .*memory"),
        ({"name": ["memory"]}, "no exchange is called"),
        ({"name": "carrier-pigeon", "bird": 3}, "bird\n.*Extra inputs"),
        ({"name": "carrier-pigeon", "birds": 0}, "greater than or equal to 1"),
        ({"name": "carrier-pigeon", "speed": float("inf")}, "finite number"),
    ],
)
def test_a_wrong_table_is_an_error(
    exchange: type[Plugin], table: dict[str, object], words: str
) -> None:
    assert exchange.name == "carrier-pigeon"
    with pytest.raises(ValueError, match=words):
        registry.build(Exchange, table)


def test_a_name_is_taken_once(exchange: type[Plugin]) -> None:
    with pytest.raises(ValueError, match="two exchange plug-ins are called 'carrier-pigeon'"):
        registry.register("exchange", "carrier-pigeon")(exchange)


def test_what_ships_is_found_without_importing_it() -> None:
    assert "text" in registry.plugins("attack")
    assert "logit" in registry.plugins("defense")
    assert "memory" in registry.plugins("exchange")
    assert {"gsm8k", "math_words"} <= set(registry.plugins("task"))


def test_building_does_not_touch_the_table() -> None:
    table: dict[str, object] = {"name": "text", "phrase": "hi"}
    registry.build(Attack, table)
    assert table == {"name": "text", "phrase": "hi"}


def test_a_class_that_cannot_be_built_is_not_registered() -> None:
    class Half(Attack):
        """Has no measure."""

    with pytest.raises(ValueError, match="Half does not define craft, success"):
        registry.register("attack", "half")(Half)
    assert "half" not in registry.plugins("attack")


def test_a_defence_that_reads_what_there_is_not_is_not_registered() -> None:
    class Odd(MaxTokens):
        """Reads tea leaves."""

        reads = "texts"  # type: ignore[assignment]

    with pytest.raises(ValueError, match="reads = 'texts'; it must be one of text, scores"):
        registry.register("defense", "odd")(Odd)


def test_a_package_that_does_not_import_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = EntryPoint("broken", "no_such_module", "swarmproof.plugins")
    monkeypatch.setattr(registry, "_loaded_entry_points", False)
    monkeypatch.setattr(registry, "entry_points", lambda **_: [broken])
    with pytest.raises(ValueError, match=r"plug-in 'broken'.*does not import.*uninstall it"):
        registry.plugins("attack")
