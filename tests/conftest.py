"""What tests of several rooms need: tiny random models, a browser, a profile for Hypothesis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from browser import Page, chromium, opened

# A claim does not depend on how busy the machine is.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from models import save_random_qwen2

    return save_random_qwen2(tmp_path_factory.mktemp("models") / "random", seed=1, hidden=32)


@pytest.fixture(scope="session")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from models import save_random_qwen2

    return save_random_qwen2(tmp_path_factory.mktemp("models") / "other", seed=2, hidden=32)


@pytest.fixture(scope="session")
def foreign_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of another architecture, and with a vocabulary of its own."""
    from models import save_random_llama

    folder = tmp_path_factory.mktemp("models") / "foreign"
    merges = [("i", "n"), ("a", "l"), ("a", "p")]
    return save_random_llama(folder, seed=3, hidden=32, heads=(4, 1), merges=merges)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    path = chromium()
    if path is None:
        pytest.skip("no chromium is installed; on Debian: apt-get install chromium")
    with opened(path, tmp_path_factory.mktemp("profile")) as page:
        yield page
