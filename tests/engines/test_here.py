"""A trial in this process leaves torch as it was; its bytes are tested with the Python API."""

from __future__ import annotations

import pytest
import torch

from swarmproof.engines.here import torch_restored


def fail_in_the_context() -> None:
    with torch_restored():
        torch.set_num_threads(1)
        torch.rand(3)
        raise ZeroDivisionError


def test_threads_and_random_state_are_restored_also_after_an_error() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    state = torch.get_rng_state()
    try:
        with pytest.raises(ZeroDivisionError):
            fail_in_the_context()
        assert torch.get_num_threads() == 2
        assert torch.equal(torch.get_rng_state(), state)
    finally:
        torch.set_num_threads(threads)
