"""What tests of several rooms need: tiny random models, a browser, a profile for Hypothesis."""

from __future__ import annotations

from collections import Counter
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

# A file is tested by one worker. With one of these at the end, the other workers would have nothing
# to do.
_FIRST = (
    "cli/test_cli.py",
    "engines/test_on_ray.py",
    "tracking/test_tracking.py",
    "cli/test_boarding.py",
    "test_api.py",
    "reproduce/test_runner.py",
    "board/test_board_kept.py",
    "swarm/test_refill.py",
    "policies/test_finite.py",
    "swarm/test_processes.py",
    "judges/test_serve.py",
    "swarm/test_resume.py",
    "zoo/test_tiny_judge.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest, and then those with most tests."""
    folder = Path(__file__).parent
    num_tests = Counter(item.path for item in items)
    place = {folder / name: (i, 0) for i, name in enumerate(_FIRST)}
    items.sort(key=lambda item: place.get(item.path, (len(_FIRST), -num_tests[item.path])))


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
