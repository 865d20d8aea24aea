"""What a store says of trials that are damaged, or of other data, models and warm-ups."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from models import save_random_qwen2
from swarmproof.config import ExperimentConfig, TrialConfig
from swarmproof.records.folder import RunFolder, write_json
from swarmproof.reproduce import store as stores
from swarmproof.reproduce.store import Store, key, require_same_inputs
from swarmproof.swarm import identity, warmup
from swarmproof.swarm.trial import Trial, run_trial
from swarms import trial_config

WARM: Mapping[str, Any] = {"steps": 1, "batch": 2, "problems": 8}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SWARMPROOF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "warmup"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
def model(random_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(random_model, tmp_path / "model"))


def config(model: Path, /, **changes: Any) -> TrialConfig:
    return trial_config(model, rounds=1, evaluation={"every": 1, "problems": 1}, **changes)


def run(store: Store, of: TrialConfig, seed: int = 0) -> Path:
    """A finished trial in the store; its folder."""
    name = key(of, seed)
    trial = Trial("mine", "arm", seed, of, store.folder(name))
    store.begin(name, trial, resume=False)
    run_trial(trial, resume=False)
    store.finish(name)
    return trial.folder


def run_folder(path: Path, of: TrialConfig, seeds: tuple[int, ...]) -> Path:
    folder = RunFolder.create(
        path, ExperimentConfig(name="mine", seeds=seeds, arms={"arm": of}), resume=False
    )
    for seed in seeds:
        run_trial(Trial("mine", "arm", seed, of, folder.trial_folder("arm", seed)), resume=False)
    folder.close()
    return path


def wanted(of: TrialConfig, *seeds: int) -> dict[str, TrialConfig]:
    return {key(of, seed): of for seed in seeds or (0,)}


def change(folder: Path, name: str, value: str | None) -> None:
    """Give one entry of a trial's fingerprints another value; None removes it."""
    prints = json.loads((folder / identity.FINGERPRINTS).read_text())
    table = {k: v for k, v in (prints | {name: value}).items() if v is not None}
    write_json(folder / identity.FINGERPRINTS, table)


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "text",
    [
        *(b"{}", b"[]", b'"x"', b"null", b"", b'{"finished_with": {', b"\xff\xfe", b"[" * 100_000),
        b'{"finished_with": true}',
        b'{"experiment": 1, "arm": "a", "seed": 0, "begun_with": {}, "finished_with": {"a": 1}}',
        b'{"experiment": "e", "arm": "a", "seed": 0, "begun_with": {}}',
    ],
)
def test_a_damaged_description_of_a_trial_is_one_line(
    random_model: Path, store: Store, text: bytes
) -> None:
    of = config(random_model)
    name = key(of, 0)
    file = store.folder(name) / "trial.json"
    file.parent.mkdir(parents=True)
    file.write_bytes(text)
    for read in (store.finished, store.about):
        with pytest.raises(
            ValueError, match=r"trial\.json is damaged: .*; delete .* to run"
        ) as told:
            read(name)
        assert "\n" not in str(told.value)
        assert str(file) in str(told.value)
    assert file.read_bytes() == text
    store.write_index()
    assert (store.root / "index.txt").read_text() == f"{name}  trial.json is damaged\n"


def test_a_judge_of_the_same_name_with_other_weights_is_told(
    random_model: Path, store: Store, tmp_path: Path
) -> None:
    judge = save_random_qwen2(tmp_path / "judge", seed=3, hidden=32, judge=True)
    table = {"name": "judge", "model": {"name": "local", "path": str(judge)}, "prompt": "tiny"}
    of = config(random_model, defenses=[table])
    folder = run(store, of)
    require_same_inputs(store.root, wanted(of))
    save_random_qwen2(judge, seed=4, hidden=32, judge=True)
    with pytest.raises(ValueError, match=r"the model at '.*judge' changed since .*--out"):
        require_same_inputs(store.root, wanted(of))
    change(folder, f"the model at {str(judge)!r}", None)
    with pytest.raises(ValueError, match=r"does not say what the model at '.*judge' was;.*delete"):
        require_same_inputs(store.root, wanted(of))


def test_trials_of_one_warm_up_that_start_from_different_weights_are_told(
    random_model: Path, store: Store, tmp_path: Path
) -> None:
    of = config(random_model, warmup=WARM)
    folders = [run(store, of, seed) for seed in range(3)]
    require_same_inputs(store.root, wanted(of, 0, 1, 2))
    name = identity.warmed_at(str(random_model))
    change(folders[1], name, "0" * 32)
    words = rf"{folders[1]} and .* \(2 of them\) have different weights .*delete .*--out"
    with pytest.raises(ValueError, match=words):
        require_same_inputs(store.root, wanted(of, 0, 1, 2))
    # A figure of them is not drawn either: a warm-up may have been made after the first check.
    keys = {"arm": list(wanted(of, 0, 1, 2))}
    experiment = ExperimentConfig(name="mine", seeds=(0, 1, 2), arms={"arm": of})
    with pytest.raises(ValueError, match=words):
        store.as_run(tmp_path / "run", experiment, keys)
    # Another warm-up has other weights.
    other = config(random_model, warmup={**WARM, "seed": 1})
    run(store, other)
    require_same_inputs(store.root, wanted(of, 0, 2) | wanted(other))
    change(folders[1], name, None)
    with pytest.raises(ValueError, match=r"does not say what the warmed-up model at .* was"):
        require_same_inputs(store.root, wanted(of, 1))


def test_trials_that_are_to_run_start_from_the_weights_of_those_that_ran(
    random_model: Path, store: Store, cache: Path
) -> None:
    of = config(random_model, warmup=WARM)
    folder = run(store, of)
    require_same_inputs(store.root, wanted(of, 0, 1))
    change(folder, identity.warmed_at(str(random_model)), "0" * 32)
    with pytest.raises(ValueError, match=rf"{cache}.* have different weights"):
        require_same_inputs(store.root, wanted(of, 0, 1))
    require_same_inputs(store.root, wanted(of, 0))  # no other one starts from the cache
    shutil.rmtree(cache)
    require_same_inputs(store.root, wanted(of, 0, 1))
    assert not cache.exists()


def test_nothing_of_a_run_is_taken_over_unless_all_fits(
    model: Path, store: Store, tmp_path: Path
) -> None:
    of = config(model)
    source = run_folder(tmp_path / "run", of, (0, 1, 2))
    (source / "trials/arm/seed-1" / identity.FINGERPRINTS).unlink()
    before = files(source)
    with pytest.raises(ValueError, match=r"^1 of 3 trials cannot be taken over: .*") as told:
        store.take(source, wanted(of, 0, 1, 2))
    assert "does not say which data and models" in str(told.value)
    assert str(told.value).endswith(f"put back what was there, or leave out --from {source}")
    save_random_qwen2(model, seed=9)
    with pytest.raises(ValueError, match=r"^3 of 3 trials cannot be taken over: ") as told:
        store.take(source, wanted(of, 0, 1, 2))
    assert "delete" not in str(told.value)
    assert not list(store.root.glob("trials/*"))
    assert files(source) == before


def test_a_run_with_other_weights_after_the_warm_up_is_not_taken_over(
    random_model: Path, store: Store, tmp_path: Path
) -> None:
    of = config(random_model, warmup=WARM)
    source = run_folder(tmp_path / "run", of, (1, 2))
    run(store, of)
    for seed in (1, 2):
        change(source / f"trials/arm/seed-{seed}", identity.warmed_at(str(random_model)), "0" * 32)
    with pytest.raises(ValueError, match=r"have different weights .*leave out --from") as told:
        store.take(source, wanted(of, 0, 1, 2))
    assert "delete" not in str(told.value)
    assert [path.name for path in store.root.glob("trials/*")] == [key(of, 0)]


def test_what_a_trial_was_made_with_has_one_hash(random_model: Path, store: Store) -> None:
    of = config(random_model)
    folder = run(store, of)
    made = stores.made_with(store.root, folder.name)
    assert made == stores.made_with(store.root, folder.name)
    change(folder, "the model at 'a'", "0" * 32)
    assert made != stores.made_with(store.root, folder.name)


def test_a_warmed_up_model_is_found_in_the_cache(random_model: Path) -> None:
    of = config(random_model, warmup=WARM)
    path = of.model.path
    assert warmup.cached(of, path) is None
    made = warmup.warmed(of, path, warmup.task_of(of))
    found = warmup.cached(of, path)
    assert found is not None
    assert (found.path, found.fingerprint) == (made.path, made.fingerprint)
    assert warmup.cached(config(random_model, warmup={"shots": 1, "problems": 8}), path) is None
