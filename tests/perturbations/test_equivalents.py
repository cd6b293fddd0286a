"""The code of other libraries does what the perturbation does, as closely as it says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from robustness.perturbations import REGISTRY, compose
from robustness.perturbations.equivalents import (
    ALBUMENTATIONS,
    LIBRARIES,
    TORCHVISION,
    Library,
    library_code,
)
from robustness.pictures.fitting import study_image
from robustness.pictures.samples import sample_bytes

STRENGTHS = (0.2, 0.37, 0.4, 0.5, 0.8, 1.0)
RANDOM = [
    (library, name)
    for library in LIBRARIES
    for name in library.equivalents
    if REGISTRY[name].random
]
EXACT = [
    (library, name)
    for library in LIBRARIES
    for name in library.equivalents
    if not REGISTRY[name].random
]


def ids(value: object) -> str:
    return value.title if isinstance(value, Library) else str(value)


def images(side: int = 224) -> list[Any]:
    """A photo, a coarse and a fine pattern of all colours, and one of dark colours."""
    rng = np.random.default_rng(0)
    fine = rng.integers(0, 256, (side, side, 3))
    coarse = rng.integers(0, 256, (side // 8, side // 8, 3)).repeat(8, 0).repeat(8, 1)
    made = [(pattern / 255).astype(np.float32) for pattern in (coarse, fine, fine // 6)]
    return [study_image(sample_bytes("coffee"), side=side), *made]


def levels(image: Any) -> Any:
    return np.rint(np.asarray(image) * 255).astype(int)


def done(library: Library, code: str, image: Any) -> Any:
    """``image`` after the printed ``code``, which the real library runs."""
    installed = pytest.importorskip(library.title, reason=f"{library.title} is not installed")
    if library is ALBUMENTATIONS and not installed.__version__.startswith("2.0."):
        pytest.skip("the code is for albumentations 2.0")
    if library is not TORCHVISION:
        names: dict[str, Any] = {"image": image.copy()}
        exec(code, names)
        return names["perturbed"]
    torch = pytest.importorskip("torch", reason="torch is not installed")
    names = {"image": torch.from_numpy(image.transpose(2, 0, 1).copy())}
    exec(code, names)
    return names["perturbed"].numpy().transpose(1, 2, 0)


def difference(library: Library, steps: Sequence[tuple[str, float]], image: Any) -> int:
    code = library_code(library, steps, len(image))
    assert code is not None
    ours = compose(image[None], dict(steps))[0]
    return int(np.abs(levels(done(library, code, image)) - levels(ours)).max())


@pytest.mark.parametrize(("library", "name"), EXACT, ids=ids)
def test_the_code_is_as_close_as_it_says(library: Library, name: str) -> None:
    closeness = library.equivalents[name].closeness
    assert isinstance(closeness, int)
    found = [
        difference(library, [(name, strength)], image)
        for strength in (STRENGTHS if REGISTRY[name].graded else (1.0,))
        if library_code(library, [(name, strength)])
        for image in images()
    ]
    assert max(found) <= closeness


def figures(image: Any) -> list[float]:
    """Mean and deviation, the shares of black and of white values, and that of grey pixels."""
    black, white, grey = image == 0, image == 1, image.max(-1) == image.min(-1)
    return [float(part.mean()) for part in (image, black, white, grey)] + [float(image.std())]


@pytest.mark.parametrize(("library", "name"), RANDOM, ids=ids)
@pytest.mark.parametrize("strength", [0.2, 0.6, 1.0])
def test_random_code_has_the_same_distribution(
    library: Library, name: str, strength: float
) -> None:
    code = library_code(library, [(name, strength)])
    assert code is not None
    assert isinstance(library.equivalents[name].closeness, str)
    image = np.full((224, 224, 3), 0.75, np.float32)
    # The library draws anew each time: one image's share of grey pixels has a deviation of 0.002.
    draws = range(16)
    theirs = [figures(levels(done(library, code, image)) / 255) for _ in draws]
    ours = [figures(compose(image[None], {name: strength}, seed=seed)[0]) for seed in draws]
    np.testing.assert_allclose(np.mean(theirs, 0), np.mean(ours, 0), atol=0.004)


@pytest.mark.parametrize("library", LIBRARIES, ids=ids)
def test_a_composition_is_as_close_as_its_steps(library: Library) -> None:
    steps = [("rotation", 0.5), ("gaussian_blur", 0.3), ("gamma", 0.5), ("jpeg_compression", 0.2)]
    assert max(difference(library, steps[:3], image) for image in images()) <= 1
    assert max(difference(library, steps[2:], image) for image in images()) == 0


def test_values_beyond_the_range_do_not_reach_the_next_step() -> None:
    steps = [("rotation", 0.2), ("gamma", 1.0)]
    assert max(difference(ALBUMENTATIONS, steps, image) for image in images()) <= 1


@pytest.mark.parametrize("library", LIBRARIES, ids=ids)
def test_lengths_grow_with_the_side(library: Library) -> None:
    assert difference(library, [("gaussian_blur", 0.6)], images(384)[0]) <= 1


def test_the_text_tells_how_close_it_is() -> None:
    assert library_code(TORCHVISION, [("darkness", 0.5), ("gaussian_noise", 0.6)]) == (
        "from torchvision.transforms import v2\n"
        "\n"
        "transform = v2.Compose(\n"
        "    [\n"
        "        # Underexposure, -2 stops: exact\n"
        "        v2.ColorJitter(brightness=(0.532520545, 0.532520545)),\n"
        "        # Random noise, noise 18%: same distribution, other random numbers\n"
        "        v2.GaussianNoise(sigma=0.18),\n"
        "    ]\n"
        ")\n"
        "# image: a tensor, float32 RGB in [0, 1], shape (3, 224, 224)\n"
        "perturbed = transform(image)\n"
    )


@pytest.mark.parametrize(
    "steps",
    [
        [],
        [("brightness", 0.0)],
        [("gaussian_blur", 0.6), ("fog", 0.6)],
        [("defocus_blur", 0.37)],
        [("pixelate", 0.5)],
    ],
)
@pytest.mark.parametrize("library", LIBRARIES, ids=ids)
def test_there_is_no_code_without_an_equivalent(
    library: Library, steps: list[tuple[str, float]]
) -> None:
    assert library_code(library, steps) is None
