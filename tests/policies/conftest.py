"""Tiny random models of two architectures, each as a directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from models import save_random_llama, save_random_qwen2


@pytest.fixture(scope="session")
def qwen2_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_qwen2(tmp_path_factory.mktemp("models") / "qwen2", hidden=32)


@pytest.fixture(scope="session")
def llama_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_llama(tmp_path_factory.mktemp("models") / "llama", hidden=48)


@pytest.fixture(scope="session", params=["qwen2", "llama"])
def model_dir(request: pytest.FixtureRequest) -> Path:
    folder: Path = request.getfixturevalue(f"{request.param}_dir")
    return folder
