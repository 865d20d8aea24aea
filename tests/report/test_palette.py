"""Styles of arms: apart for every kind of colour vision, and readable on both pages."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from swarmproof.config import load, shipped
from swarmproof.report.palette import MAX_COLOURS, arm_styles, style

# Linear RGB to what is seen, at full severity: G. M. Machado, M. M. Oliveira and
# L. A. F. Fernandes, "A Physiologically-based Model for Simulation of Color Vision
# Deficiency" (2009).
VISION = {
    "normal": np.eye(3),
    "protanopia": np.array([
        [0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ]),
    "deuteranopia": np.array([
        [0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]),
}  # fmt: skip
XYZ = np.array([
    [0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
    [0.0193339, 0.1191920, 0.9503041],
])  # fmt: skip
PAGES = {"light": "#ffffff", "dark": "#0f1216"}  # as in the template
MIN_DISTANCE = 15  # of CIELAB; about 2 is the least that can be seen side by side


def linear(colour: str) -> np.ndarray:
    value = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(colour: str, vision: str) -> np.ndarray:
    """CIE 1976 L*a*b* of what is seen, against D65."""
    ratio = XYZ @ np.clip(VISION[vision] @ linear(colour), 0, 1) / XYZ.sum(axis=1)
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def distance(one: str, other: str, vision: str) -> float:
    return float(np.linalg.norm(lab(one, vision) - lab(other, vision)))


def colours(page: str) -> list[str]:
    styles = [style(number) for number in range(MAX_COLOURS)]
    return [each.colour if page == "light" else each.dark for each in styles]


def test_the_measure_is_right() -> None:
    assert lab("#ffffff", "normal") == pytest.approx([100, 0, 0], abs=0.01)
    assert lab("#ff0000", "normal") == pytest.approx([53.24, 80.09, 67.20], abs=0.05)
    # A grey and a green of an earlier palette, which looked alike.
    assert distance("#7a8087", "#009e73", "normal") > 30
    assert distance("#7a8087", "#009e73", "deuteranopia") < MIN_DISTANCE


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("vision", VISION)
def test_any_two_of_twelve_colours_are_apart(page: str, vision: str) -> None:
    found = colours(page)
    assert len(found) == 12
    distances = {(a, b): distance(a, b, vision) for a, b in combinations(found, 2)}
    nearest = min(distances, key=distances.__getitem__)
    assert distances[nearest] >= MIN_DISTANCE, nearest


@pytest.mark.parametrize(("page", "behind"), PAGES.items())
def test_every_colour_has_contrast_with_its_page(page: str, behind: str) -> None:
    for colour in colours(page):
        light, dark = sorted((float(XYZ[1] @ linear(c)) for c in (colour, behind)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3, colour


def test_no_two_of_24_styles_share_colour_and_dash_or_marker_and_dash() -> None:
    styles = [style(number) for number in range(24)]
    assert len({(each.colour, each.dash) for each in styles}) == 24
    assert len({(each.marker, each.dash) for each in styles}) == 24


@pytest.mark.parametrize("names", [(), ("attack",), ("no-attack",), ("no-attack", "attack")])
def test_no_colour_comes_twice_among_twelve_arms(names: tuple[str, ...]) -> None:
    others = [f"arm-{i}" for i in range(12 - len(names))]
    assert len({each.colour for each in arm_styles([*names, *others]).values()}) == 12


@pytest.mark.parametrize("name", shipped())
def test_no_colour_comes_twice_in_a_shipped_experiment(name: str) -> None:
    arms = load(name).arms
    assert len({each.colour for each in arm_styles(arms).values()}) == len(arms)


def test_a_style_does_not_depend_on_which_other_usual_arms_there_are() -> None:
    full = arm_styles(["no-attack", "attack", "logit", "judge"])
    assert arm_styles(["attack", "logit"]) == {k: full[k] for k in ("attack", "logit")}
