"""Noise by address: standard Gumbel, independent along every part of the address, the same bits
on every machine."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from swarmproof.randomness import derive_seed, generator, gumbel

SEEDS_63 = st.integers(min_value=0, max_value=2**63 - 1)


def noise(seeds: list[int], t: int, token_ids: range) -> np.ndarray:
    every = torch.tensor(list(token_ids)).expand(len(seeds), -1)
    return gumbel(torch.tensor(seeds), t, every).double().numpy()


def test_golden_seeds() -> None:
    """A peer on another machine, or a later version, must draw the same."""
    assert derive_seed(0, "completion", 3, "math_words/train/7", 5) == 4429105884136429798
    assert derive_seed(1, "attack", 0) == 8484506289678319035
    assert derive_seed(7, "x") == 5168017319177078876
    assert generator(0, "problems", 0).permutation(8).tolist() == [7, 3, 1, 0, 6, 2, 4, 5]


def test_golden_noise() -> None:
    """Equal to the last bit."""
    drawn = gumbel(
        torch.tensor([1, 2**62 + 12345]), 3, torch.tensor([[0, 7], [511, 151_000]])
    ).tolist()
    assert [[x.hex() for x in row] for row in drawn] == [
        ["-0x1.c4d2d40000000p-1", "0x1.e7c4040000000p+0"],
        ["-0x1.449cf40000000p-3", "0x1.2325d20000000p-1"],
    ]


def splitmix_gumbel(seed: int, t: int, token: int) -> float:
    """The same noise in exact integers, from the published finaliser of SplitMix64."""
    wrap, golden = (1 << 64) - 1, 0x9E3779B97F4A7C15

    def mix(x: int) -> int:
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & wrap
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & wrap
        return x ^ (x >> 31)

    row = mix((mix(seed) + (t + 1) * golden) & wrap)
    bits = mix((row + (token + 1) * golden) & wrap)
    return -math.log(-math.log(((bits >> 11) + 0.5) * 2.0**-53))


@given(SEEDS_63, st.integers(0, 100_000), st.integers(0, 300_000))
def test_noise_is_splitmix_of_its_address(seed: int, t: int, token: int) -> None:
    """64-bit overflow and logical shifts are those of the published algorithm."""
    drawn = gumbel(torch.tensor([seed]), t, torch.tensor([[token]])).item()
    assert drawn == pytest.approx(splitmix_gumbel(seed, t, token), rel=3e-7, abs=1e-6)


def test_t_may_differ_by_row() -> None:
    seeds, ids = torch.tensor([5, 5, 9]), torch.arange(11).expand(3, -1)
    together = gumbel(seeds, torch.tensor([0, 4, 4]), ids)
    apart = [gumbel(seeds[i : i + 1], t, ids[:1])[0] for i, t in enumerate((0, 4, 4))]
    assert torch.equal(together, torch.stack(apart))


@pytest.mark.parametrize(
    ("seeds", "t", "tokens"),
    [
        ([derive_seed(0, "completion", 0, "p", i) for i in range(400)], 0, range(500)),
        # Addresses as close as possible: a weak hash would show here.
        (list(range(400)), 0, range(500)),
        ([3], 17, range(151_936)),
    ],
    ids=["derived seeds", "consecutive seeds", "one row"],
)
def test_noise_is_standard_gumbel(seeds: list[int], t: int, tokens: range) -> None:
    drawn = noise(seeds, t, tokens).ravel()
    assert np.isfinite(drawn).all()
    assert stats.kstest(drawn, stats.gumbel_r.cdf).pvalue > 1e-4
    # The control: the same shape with another scale does not pass.
    assert stats.kstest(1.05 * drawn, stats.gumbel_r.cdf).pvalue < 1e-4


def test_noise_is_independent_across_seeds_places_and_tokens() -> None:
    """Neighbours along each axis are uncorrelated, and no draw occurs twice."""
    cube = np.stack([noise(list(range(60)), t, range(100)) for t in range(60)])  # (t, seed, token)
    for axis in range(3):
        for lag in (1, 2):
            near = np.moveaxis(cube, axis, 0)
            a, b = near[:-lag].ravel(), near[lag:].ravel()
            assert abs(stats.pearsonr(a, b).statistic) < 4.5 / math.sqrt(len(a))
            assert abs(stats.spearmanr(a, b).statistic) < 4.5 / math.sqrt(len(a))
    # float32 has few values, so single ones coincide by chance. Whole rows must not.
    rows = {row.tobytes() for plane in cube for row in plane}
    assert len(rows) == 60 * 60


def test_no_part_of_an_address_can_stand_for_another() -> None:
    """A shift by one along an axis is not a shift along another."""
    a = noise([0], 1, range(50))
    assert not np.isin(a, noise([1], 0, range(50))).any()
    assert not np.isin(noise([0], 0, range(1, 51)), a).any()


@given(
    st.lists(st.one_of(st.integers(0, 99), st.text(max_size=5)), min_size=1, max_size=4),
    st.lists(st.one_of(st.integers(0, 99), st.text(max_size=5)), min_size=1, max_size=4),
)
def test_different_addresses_have_different_seeds(a: list[int | str], b: list[int | str]) -> None:
    same = derive_seed(0, "x", *a) == derive_seed(0, "x", *b)
    assert same == ([(type(x), x) for x in a] == [(type(x), x) for x in b])


def test_types_and_borders_count() -> None:
    addresses: list[tuple[int | str, ...]] = [
        (1, "23"), ("1", 23), ("1", "23"), (1, 23), (12, 3), ("12", "3"), ("123",), (123,),
        ("1\x1fstr:23",), ("1", "23", ""), (),
    ]  # fmt: skip
    seeds = [derive_seed(0, "x", *address) for address in addresses]
    assert len(set(seeds)) == len(addresses)
    assert derive_seed(0, "x") != derive_seed(1, "x") != derive_seed(1, "y")
    assert all(0 <= seed < 2**63 for seed in seeds)
