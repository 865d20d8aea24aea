"""What the documentation shows is true: its examples run, its links and its layout are there."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from models import save_random_qwen2
from swarmproof import registry, testing
from swarmproof.attacks import Attack
from swarmproof.config import TrialConfig
from swarmproof.records.streams import read_completions, read_rounds
from swarmproof.swarm.assembly import check
from swarmproof.swarm.trial import Trial, run_trial

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def blocks(language: str, page: str = "plugins.md") -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The examples as an installed package of a third party, which no other test sees."""
    tables = [tomllib.loads(block) for block in blocks("toml")]
    (group,) = (table["project"]["entry-points"]["swarmproof.plugins"] for table in tables)
    ((name, module),) = group.items()
    (tmp_path / f"{module}.py").write_text("\n\n".join(blocks("python")))
    info = tmp_path / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[swarmproof.plugins]\n{name} = {module}\n")

    ours = {kind: dict(registry.plugins(kind)) for kind in registry.KINDS}
    monkeypatch.setattr(registry, "_registered", ours)
    monkeypatch.setattr(registry, "_loaded_entry_points", False)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop(module, None)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # So peaked that what it did not write is improbable to it.
    return save_random_qwen2(tmp_path_factory.mktemp("model"), spread=12.0)


def play(folder: Path, model: Path, **settings: Any) -> tuple[Any, list[dict[str, Any]]]:
    """One tiny round: its record, and its completions."""
    config = TrialConfig.model_validate(
        {
            "rounds": 1,
            "task": {"name": "math_words", "train": 4, "test": 1},
            "model": {"path": str(model)},
            "swarm": {"nodes": 2, "malicious": 1},
            "batch": {"problems": 2, "group_size": 4},
            "sampling": {"max_new_tokens": 320},
            "evaluation": {"problems": 1},
        }
        | settings
    )
    check(config)
    run_trial(Trial("docs", "arm", 0, config, folder), resume=False)
    (record,) = read_rounds(folder)
    return record, list(read_completions(folder))


def test_an_attack_and_a_defence_take_at_most_20_lines() -> None:
    attack, defense, masking, *_ = blocks("python")
    assert all(len(block.splitlines()) <= 20 for block in (attack, defense, masking))


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("attack", "advert"), ("defense", "improbable"), ("defense", "silence"),
        ("task", "doubling"), ("exchange", "capped"), ("generator", "one-by-one"),
    ],
)  # fmt: skip
def test_every_example_keeps_the_promises_of_its_kind(kind: registry.Kind, name: str) -> None:
    testing.check(registry.plugins(kind)[name])


@pytest.mark.usefixtures("plugins")
def test_the_masking_defence_masks_and_refuses_nothing(tmp_path: Path, model: Path) -> None:
    record, completions = play(
        tmp_path / "run", model, attack={"name": "advert"}, defenses=[{"name": "silence"}]
    )
    counts = record.by_defense["silence"]
    assert counts["poisoned_refused"] == counts["honest_refused"] == 0
    assert counts["poisoned_masked_tokens"] > 4
    credits = [c["verdicts"][0]["token_credit"] for c in completions if c["poisoned"]]
    assert all({0.0, 1.0} >= set(credit) and 0.0 in credit for credit in credits)


@pytest.mark.usefixtures("plugins")
def test_a_foreign_task_and_exchange_play_a_round(tmp_path: Path, model: Path) -> None:
    record, completions = play(
        tmp_path / "run",
        model,
        attack={"name": "advert"},
        task={"name": "doubling", "size": 8},
        exchange={"name": "capped", "kilobytes": 0},
    )
    assert record.absent == {"0": "oversized", "1": "oversized"}
    assert completions == []
    _, completions = play(
        tmp_path / "more",
        model,
        attack={"name": "advert"},
        task={"name": "doubling", "size": 8},
        exchange={"name": "capped"},
    )
    assert {c["node"] for c in completions} == {0, 1}
    assert completions[0]["question"].startswith("What is twice")


@pytest.mark.usefixtures("plugins")
def test_the_attack_poisons_and_is_rewarded(tmp_path: Path, model: Path) -> None:
    record, completions = play(tmp_path / "run", model, attack={"name": "advert"})
    poisoned = [c for c in completions if c["poisoned"]]
    assert record.malformed == 0
    assert len(poisoned) == record.poisoned == 4
    assert all("Buy gold.</think>" in c["text"] and c["reward"] == 1 for c in poisoned)
    # A random model has no reason to advertise; with the poison in it, a text is a success.
    assert record.asr == 0
    attack: Any = registry.build(Attack, {"name": "advert", "slogan": "Sell."})
    assert attack.success(None, "Sell. Now.") is True


@pytest.mark.usefixtures("plugins")
def test_the_defence_refuses_the_improbable(tmp_path: Path, model: Path) -> None:
    floor = -9.0
    record, completions = play(
        tmp_path / "run",
        model,
        attack={"name": "advert"},
        defenses=[{"name": "improbable", "floor": floor}],
    )
    for completion in completions:
        (verdict,) = completion["verdicts"]
        assert verdict["accepted"] is (verdict["score"] <= -floor)
        assert verdict["accepted"] is (verdict["reason"] == "")
    assert record.poisoned_refused == record.poisoned == 4
    assert record.honest_refused == 0


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in link:
            assert (page.parent / link).exists(), link


def test_adrs_that_are_named_exist() -> None:
    numbers = {path.name[:4] for path in (DOCS / "adr").glob("*.md")}
    for page in DOCS.rglob("*.md"):
        named = re.findall(r"ADR (\d{4})", page.read_text(encoding="utf-8"))
        assert numbers.issuperset(named), page


def test_the_layout_is_that_of_the_package() -> None:
    (layout,) = (b for b in blocks("", "architecture.md") if b.startswith("src/swarmproof/"))
    named = set(re.findall(r"\w+\.py", layout))
    package = ROOT / "src/swarmproof"
    assert named <= {path.name for path in package.rglob("*.py")}
    assert named >= {path.name for path in package.glob("*.py")} - {"__init__.py"}


def test_the_readme_shows_the_same_attack() -> None:
    """The README's plug-in is that of plugins.md, which the tests above run."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert blocks("python")[0] in readme


def test_the_guard_of_the_readme_drops_the_poisoned_completion() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = (b for b in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "Guard(" in b)
    names: dict[str, Any] = {}
    exec(block, names)
    seen = names["seen"]
    assert seen.verdicts[0][0][0].accepted is False
    assert seen.kept[0].tolist()[0] is False
