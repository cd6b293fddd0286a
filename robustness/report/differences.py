"""What a person could check of the statistics in which production images differ, in plain words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple


class _Trait(NamedTuple):
    """A visible trait, and how images with more and with less of it look.

    ``rises`` are the statistics that are larger with more of it, ``falls`` those that are smaller.
    """

    name: str
    more: str
    less: str
    rises: tuple[str, ...]
    falls: tuple[str, ...] = ()


_TRAITS = (
    _Trait(
        "brightness",
        "the images are brighter",
        "the images are darker",
        ("luma 25 %", "luma 50 %", "luma 75 %", "luma mean"),
    ),
    _Trait("shadows", "shadows are brighter", "shadows are darker", ("luma 1 %", "luma 5 %")),
    _Trait(
        "highlights", "highlights are brighter", "highlights are darker", ("luma 95 %", "luma 99 %")
    ),
    _Trait("contrast", "contrast is higher", "contrast is lower", ("luma deviation",)),
    _Trait(
        "blown-out areas",
        "more of the image is blown out",
        "less of the image is blown out",
        ("clipped brightest channel", "white pixels"),
    ),
    _Trait(
        "black areas",
        "more of the image is fully black",
        "less of the image is fully black",
        ("clipped darkest channel", "black pixels"),
    ),
    _Trait(
        "haze",
        "a veil of haze lies over the images",
        "there is less haze",
        ("dark channel mean", "dark channel 5 %", "darkest channel 1 %"),
    ),
    _Trait(
        "colours",
        "colours are stronger",
        "colours are paler",
        (
            "saturation mean",
            "saturation 90 %",
            "blue deviation",
            "red deviation",
            "chroma to luma",
        ),
    ),
    _Trait(
        "blue",
        "the images are bluer",
        "the images are yellower",
        ("blue mean", "relative blue", "blue 99 %", "blue to green"),
    ),
    _Trait(
        "red",
        "the images are redder",
        "the images are less red",
        ("red mean", "relative red", "red 99 %", "red to green"),
    ),
    _Trait("green", "bright areas are greener", "bright areas are less green", ("green 99 %",)),
    _Trait(
        "fine detail",
        "fine detail is stronger",
        "fine detail is missing",
        tuple(f"spectrum band {band}" for band in range(8, 12)),
        (
            "residual correlation, x",
            "residual correlation, y",
            "residual correlation, 2 px",
            "residual correlation, diagonal",
        ),
    ),
    _Trait(
        "medium detail",
        "medium detail is stronger",
        "medium detail is weaker",
        tuple(f"spectrum band {band}" for band in range(4, 8)),
    ),
    _Trait(
        "large shapes",
        "large shapes stand out more",
        "large shapes stand out less",
        tuple(f"spectrum band {band}" for band in range(1, 4)),
    ),
    _Trait("noise", "the images are noisier", "the images have less noise", ("noise",)),
    _Trait(
        "noise in smooth areas",
        "smooth areas are noisier",
        "smooth areas have less noise",
        ("noise in smooth parts",),
    ),
    _Trait(
        "noise in light areas",
        "noise lies more in light areas",
        "noise lies more in dark areas",
        ("noise in light to dark parts",),
    ),
    _Trait(
        "smearing",
        "detail is smeared in one direction",
        "detail is less smeared in one direction",
        ("spectrum direction",),
    ),
    _Trait(
        "edges",
        "edges are sharper",
        "edges are softer",
        ("gradient", "edge 99 %", "edge 99.9 %"),
    ),
    _Trait(
        "calm around edges",
        "only strong edges are left of the detail",
        "weak detail stands out beside strong edges",
        ("residual kurtosis", "gradient kurtosis"),
    ),
    _Trait(
        "blocks",
        "blocks show, as of strong compression",
        "blocks show less",
        ("block edges",),
    ),
    _Trait(
        "smooth areas",
        "small areas are perfectly smooth, as of strong compression",
        "fewer small areas are perfectly smooth",
        ("zero high DCT", "small DCT", "zero DCT", "flat pixels"),
    ),
    _Trait(
        "light at the edges",
        "edges of the image are brighter than its centre",
        "edges of the image are darker than its centre",
        ("corners to centre", "light falloff"),
    ),
)


def trait_of(statistic: str) -> str:
    """Return the name of the visible trait that the ``statistic`` measures."""
    trait, _ = _measured(statistic)
    return trait.name


def phrases(statistics: Iterable[str], differences: Mapping[str, float]) -> list[str]:
    """Return what a person could check of ``statistics``, one phrase a trait, in their order.

    ``differences`` are those of the production images from the reference, by statistic. The first
    statistic of a trait decides its direction.
    """
    phrase_of_trait: dict[str, str] = {}
    for statistic in statistics:
        trait, sign = _measured(statistic)
        if trait.name in phrase_of_trait:
            continue
        is_more = sign * differences[statistic] > 0
        phrase_of_trait[trait.name] = trait.more if is_more else trait.less
    return list(phrase_of_trait.values())


def _measured(statistic: str) -> tuple[_Trait, int]:
    """The trait that a statistic measures, and -1 if it is smaller with more of it, else 1."""
    for trait in _TRAITS:
        if statistic in trait.rises:
            return trait, 1
        if statistic in trait.falls:
            return trait, -1
    raise KeyError(statistic)
