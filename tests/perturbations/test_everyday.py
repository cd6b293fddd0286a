"""The perturbations that no benchmark lists, against known answers and independent libraries."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from skimage import color, exposure, transform

from robustness.perturbations import REGISTRY, Images, apply
from robustness.perturbations.blur import turbulent_blur, turbulent_fields, turbulent_tilt
from robustness.perturbations.digital import flare_light
from robustness.perturbations.light import DAYLIGHT, LUMINANCE, SKY, TUNGSTEN, hue_matrix, white
from robustness.perturbations.record import DISPLAY_GAMMA
from robustness.perturbations.weather import scaled_cells
from tests.support.oracles import PHOTOS, grey, photo_bytes, photos, psnr


def light(images: Images) -> np.ndarray:
    return images.astype(np.float64) ** DISPLAY_GAMMA


# --- tone and colour ----------------------------------------------------------------------------


def test_a_stop_doubles_or_halves_the_light() -> None:
    faint = 0.1 + 0.3 * photos("chelsea")
    brighter = apply(REGISTRY["exposure"], faint, 1 / 3)
    darker = apply(REGISTRY["darkness"], faint, 1 / 4)
    np.testing.assert_allclose(light(brighter), 2 * light(faint), rtol=1e-4)
    np.testing.assert_allclose(light(darker), light(faint) / 2, rtol=1e-4)
    assert apply(REGISTRY["exposure"], grey(0.6), 1.0).min() == 1.0


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_gamma_is_that_of_scikit_image(strength: float) -> None:
    images = photos()
    expected = exposure.adjust_gamma(images.astype(np.float64), 1 + 1.2 * strength)
    np.testing.assert_allclose(apply(REGISTRY["gamma"], images, strength), expected, atol=1e-5)


def test_greyscale_ends_at_the_luminance_and_goes_straight_there() -> None:
    images = photos()
    grey_images = apply(REGISTRY["greyscale"], images, 1.0)
    expected = color.rgb2gray(images.astype(np.float64))  # ITU-R BT.709 weights, to three digits
    for channel in range(3):
        np.testing.assert_allclose(grey_images[..., channel], expected, atol=1e-3)
    half = apply(REGISTRY["greyscale"], images, 0.5)
    np.testing.assert_allclose(half, (images + grey_images) / 2, atol=1e-6)


def test_hue_turns_about_grey_and_keeps_the_luminance() -> None:
    muted = 0.35 + 0.3 * photos("coffee")
    for strength in (0.2, 0.5, 0.8):
        turned = apply(REGISTRY["hue_shift"], muted, strength)
        weights = [0.213, 0.715, 0.072]
        np.testing.assert_allclose(turned @ weights, muted @ weights, atol=1e-4)
        np.testing.assert_allclose(apply(REGISTRY["hue_shift"], grey(), strength), 0.5, atol=1e-6)
    np.testing.assert_allclose(hue_matrix(90) @ hue_matrix(90), hue_matrix(180), atol=2e-3)
    np.testing.assert_allclose(hue_matrix(0), np.eye(3), atol=1e-12)
    np.testing.assert_allclose(np.array(weights), LUMINANCE, atol=5e-4)


@pytest.mark.parametrize(
    ("name", "chosen", "illuminant"), [("warm_cast", TUNGSTEN, "A"), ("cool_cast", SKY, None)]
)
def test_a_cast_is_what_a_white_sheet_looks_like_in_that_light(
    name: str, chosen: tuple[float, float, float], illuminant: str | None
) -> None:
    """A sheet of half the light, so that no channel is cut off."""
    kelvin = chosen[2]
    if illuminant is not None:
        xyz = color.xyz_tristimulus_values(illuminant=illuminant, observer="2")
    else:  # CIE daylight, 7000 K to 25000 K
        x = -2.0064e9 / kelvin**3 + 1.9018e6 / kelvin**2 + 247.48 / kelvin + 0.23704
        y = -3 * x**2 + 2.87 * x - 0.275
        xyz = np.array([x / y, 1, (1 - x - y) / y])
    expected = np.linalg.inv(color.colorconv.xyz_from_rgb) @ xyz
    np.testing.assert_allclose(white(chosen), expected, atol=0.003)
    np.testing.assert_allclose(white(DAYLIGHT), 1.0, atol=0.002)
    sheet = grey(0.5 ** (1 / DISPLAY_GAMMA))
    seen = light(apply(REGISTRY[name], sheet, 1.0))[0, 0, 0]
    np.testing.assert_allclose(seen, expected / 2, rtol=0.01)
    assert REGISTRY[name].value_text(1.0) == f"{kelvin:.0f} K"
    assert REGISTRY[name].parameter_at(0.0) == pytest.approx(DAYLIGHT[2])


# --- camera -------------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_vignetting_takes_its_stops_from_the_corners(strength: float) -> None:
    result = apply(REGISTRY["vignetting"], grey(), strength)[0, :, :, 0]
    fall = np.log2(light(grey()[0, 0, 0, 0]) / light(result))
    assert fall[0, 0] == pytest.approx(4 * strength, abs=1e-3)
    assert abs(fall[111:113, 111:113]).max() < 1e-3
    np.testing.assert_allclose(result, result[::-1, ::-1].T, atol=1e-6)
    tangent = np.sqrt(2 ** (2 * strength) - 1)  # cos^4 at the corner is 2^-stops
    middle = np.cos(np.arctan(tangent * np.sqrt(0.5))) ** 4  # of the right edge
    assert 2 ** -fall[112, 223] == pytest.approx(middle, rel=0.01)


def test_chromatic_aberration_parts_red_from_blue_and_leaves_green() -> None:
    dots = np.zeros((1, 225, 225, 3), dtype=np.float32)
    dots[0, 112, 200] = 1.0
    blurred = ndimage.gaussian_filter(dots, (0, 2, 2, 0)) * 20
    result = apply(REGISTRY["chromatic_aberration"], blurred, 1.0)[0]
    red, green, blue = (
        ndimage.center_of_mass(result[..., channel])[1] - 112 for channel in range(3)
    )
    np.testing.assert_allclose(result[..., 1], blurred[0, ..., 1], atol=1e-7)
    growth = 8 * 225 / 224 / 2 / (112 * np.sqrt(2))
    assert green == pytest.approx(88, abs=0.05)
    assert red == pytest.approx(88 * (1 + growth), abs=0.1)
    assert blue == pytest.approx(88 * (1 - growth), abs=0.1)


def test_rolling_bands_are_three_squared_sines_down_the_rows() -> None:
    record = REGISTRY["rolling_bands"]
    first, second = apply(record, np.concatenate([grey(), grey()]), 1.0, digests=["a", "b"])
    assert np.ptp(first, axis=1).max() == 0.0
    lost = 1 - light(first[:, 0, 0]) / light(grey()[0, 0, 0, 0])
    assert lost.max() == pytest.approx(0.95, abs=0.005)
    assert lost.min() == pytest.approx(0.0, abs=0.005)
    assert lost.mean() == pytest.approx(0.95 / 2, abs=1e-3)
    power = np.abs(np.fft.rfft(lost))
    assert power[3] > 100 * np.delete(power, [0, 3]).max()
    assert np.abs(first - second).max() > 0.05


# --- obstruction --------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [0.1, 1.0])
def test_occlusion_covers_its_share_and_grows_about_its_place(strength: float) -> None:
    record, images = REGISTRY["occlusion"], np.concatenate([grey(0.0)] * 8)
    digests = [str(number) for number in range(8)]
    result = apply(record, images, strength, digests=digests)
    covered = result[..., 0] / 0.5
    np.testing.assert_allclose(covered.sum((1, 2)), (0.6 * strength * 224) ** 2, rtol=1e-4)
    assert covered.max() == pytest.approx(1)
    smaller = apply(record, images, strength * 0.8, digests=digests)
    assert (smaller <= result + 1e-6).all()
    assert len(np.unique(np.argmax(covered.sum(axis=1) > 1, axis=1))) > 4


# --- geometry -----------------------------------------------------------------------------------


def test_a_whole_shift_only_moves_pixels() -> None:
    images = photos("coffee", "rocket")
    result = apply(REGISTRY["translation"], images, 56 / (0.3 * 224))
    expected = np.concatenate([images[:, :, 56:0:-1], images[:, :, :-56]], axis=2)
    np.testing.assert_allclose(result, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "factor"), [("zoom_in", 1.6), ("zoom_in", 2.5), ("zoom_out", 0.7)]
)
def test_zooms_agree_with_scikit_image(name: str, factor: float) -> None:
    strength = (factor - 1) / (1.5 if factor > 1 else -0.6)
    images = photos()
    shift = 111.5 * (1 - 1 / factor)
    there = transform.AffineTransform(scale=1 / factor, translation=(shift, shift))
    for image, result in zip(images, apply(REGISTRY[name], images, strength), strict=True):
        sigma = max(0.0, 0.5 * (1 / factor - 1))
        smooth = ndimage.gaussian_filter(image, (sigma, sigma, 0), mode="nearest")
        expected = transform.warp(smooth, there, order=3, mode="edge")
        inner = slice(40, -40)
        assert psnr(result[inner, inner], np.clip(expected, 0, 1)[inner, inner]) > 38
        if factor < 1:
            np.testing.assert_allclose(result[0, 0], image.mean((0, 1)), atol=0.002)


@pytest.mark.parametrize("strength", [0.2, 1.0])
def test_the_slanted_view_is_that_of_a_pinhole_camera(strength: float) -> None:
    angle = np.deg2rad(60 * strength)
    image = photos("chelsea")
    result = apply(REGISTRY["perspective"], image, strength)[0]

    def back(points: np.ndarray) -> np.ndarray:
        """From the view to the image: a ray meets the plane turned by the angle."""
        right, down = (points - 111.5).T / 224
        along = right / (np.cos(angle) - right * np.sin(angle))
        depth = 1 + along * np.sin(angle)
        return np.stack([along, down * depth], axis=1) * 224 + 111.5

    expected = np.clip(transform.warp(image[0], back, order=3, mode="edge"), 0, 1)
    cover = transform.warp(np.ones((224, 224)), back, order=1, mode="constant")
    inside = ndimage.binary_erosion(cover == 1, iterations=3)
    assert inside.mean() > 0.25
    assert psnr(result[inside], expected[inside]) > 38
    outside = ndimage.binary_erosion(cover == 0, iterations=3, border_value=1)
    assert outside.mean() > 0.05
    assert np.abs(result[outside] - image[0].mean((0, 1))).max() < 0.002


# --- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_low_resolution_keeps_the_mean_and_loses_what_is_finer(strength: float) -> None:
    image = photos("motorcycle")
    pixels = REGISTRY["low_resolution"].parameter_at(strength)
    result = apply(REGISTRY["low_resolution"], image, strength)
    np.testing.assert_allclose(result.mean((1, 2)), image.mean((1, 2)), atol=0.003)
    finer = np.arange(113) > pixels / 2  # waves of less than two of its pixels
    power = [np.abs(np.fft.rfft(picture[0, :, :, 1])) ** 2 for picture in (result, image)]
    kept = [p[:, ~finer].sum() for p in power]
    lost = [p[:, finer].sum() for p in power]
    assert kept[0] == pytest.approx(kept[1], rel=0.03)
    assert lost[0] < 0.35 * lost[1]


@pytest.mark.parametrize("name", ["jpeg_compression", "webp_compression"])
@pytest.mark.parametrize("strength", [0.1, 1.0])
def test_codecs_do_as_pillows(name: str, strength: float) -> None:
    record = REGISTRY[name]
    kind = name.partition("_")[0].upper()
    for photo, result in zip(PHOTOS, apply(record, photos(), strength), strict=True):
        file = io.BytesIO()
        quality = int(record.parameter_at(strength))
        Image.fromarray(photo_bytes(photo)).save(file, kind, quality=quality)
        expected = np.asarray(Image.open(file).convert("RGB")) / 255
        assert psnr(result, expected) > 45


# --- lens and air -------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.1, 0.6])
def test_barrel_distortion_is_that_of_brown(share: float) -> None:
    strength = share / 0.6
    bend = share / (1 - share)
    image = photos("chelsea")
    result = apply(REGISTRY["lens_distortion"], image, strength)[0]
    corner = 111.5 * np.sqrt(2)

    def back(points: np.ndarray) -> np.ndarray:
        offset = (points - 111.5) / corner
        squared = (offset**2).sum(axis=1, keepdims=True)
        return offset * (1 + bend * squared) / (1 + bend) * corner + 111.5

    expected = np.clip(transform.warp(image[0], back, order=3, mode="reflect"), 0, 1)
    assert psnr(result[2:-2, 2:-2], expected[2:-2, 2:-2]) > 38
    np.testing.assert_allclose(result[0, 0], image[0, 0, 0], atol=0.01)
    enlarged = np.linalg.norm(back(np.array([[112.5, 111.5]])) - 111.5)
    assert 1 - enlarged == pytest.approx(share, abs=1e-3)  # so much nearer than without it


def test_turbulence_tilts_as_noll_says_and_blurs_as_fried_says() -> None:
    for ratio in (2.0, 5.0):
        fields = [turbulent_fields(np.random.Generator(np.random.SFC64(n))) for n in range(40)]
        assert np.std(fields) == pytest.approx(1.0, rel=0.05)
        half_width = (
            2 * np.sqrt(2 * np.log(2)) * np.hypot(turbulent_tilt(ratio), turbulent_blur(ratio))
        )
        assert half_width == pytest.approx(0.98 * ratio)  # of a long exposure, in lambda / D
        one_axis_in_radians = turbulent_tilt(ratio) * np.pi / 2
        assert one_axis_in_radians**2 == pytest.approx(0.448 * ratio ** (5 / 3))


# --- rain, flare and letters --------------------------------------------------------------------


def test_rain_veils_by_its_rate_and_draws_bright_streaks_that_stay() -> None:
    record = REGISTRY["rain"]
    images = np.concatenate([grey(0.3)] * 3)
    digests = ["a", "b", "c"]
    light_rain, heavy_rain = (
        apply(record, images, strength, digests=digests) for strength in (0.5, 0.6)
    )
    sky = 0.3 * 3 ** (1 / DISPLAY_GAMMA)
    veil = 1 - np.exp(-0.312 * 50**0.67 * 0.075)
    assert light_rain.min() == pytest.approx(0.3 + veil * (sky - 0.3), abs=1e-3)
    assert light_rain.max() <= sky + 1e-6
    # A streak is still there when it rains more, but for the rounding of its shade.
    streaks = light_rain[..., 0] > light_rain.min() + 0.05
    assert 0.02 < streaks.mean() < 0.5
    assert (heavy_rain[..., 0] >= light_rain[..., 0] - 0.05)[streaks].mean() > 0.99


@pytest.mark.parametrize("strength", [0.1, 0.7])
def test_a_flare_adds_its_light_on_average(strength: float) -> None:
    record = REGISTRY["lens_flare"]
    for number in range(3):
        flare = flare_light(np.random.Generator(np.random.SFC64(number)))
        assert flare.mean() == pytest.approx(1.0, abs=1e-4)
        assert flare.min() > 0.0
    added = light(apply(record, grey(0.0), strength, digests=["a"]))
    assert added.max() == pytest.approx(1.0)
    assert 0.3 * 0.6 * strength < added.mean() <= 0.6 * strength + 1e-4


@pytest.mark.parametrize("strength", [0.33, 1.0])
def test_a_timestamp_has_its_size_stands_in_a_corner_and_keeps_to_it(strength: float) -> None:
    record = REGISTRY["timestamp"]
    images = np.concatenate([grey()] * 12)
    digests = [str(number) for number in range(12)]
    result = apply(record, images, strength, digests=digests)[..., 0]
    cell = 0.11 * strength * 224 / 14  # half a dot
    corners = set()
    for stamped in result:
        changed = np.abs(stamped - 0.5) > 1e-6
        rows = np.flatnonzero(changed.any(axis=1))
        columns = np.flatnonzero(changed.any(axis=0))
        assert len(rows) == pytest.approx((3 * 9 - 2 + 1) * cell * 2, abs=2.0 + 2 * cell)
        assert len(columns) > 50 * cell * 2
        corners.add((rows[0] > 112 - len(rows) / 2, columns[0] > 112 - len(columns) / 2))
    assert len(corners) == 4 or strength == 1.0
    ones = np.ones((5, 7), dtype=np.uint8)
    shares = scaled_cells(ones, 3.3, 4.6, 1.7, 32)
    assert shares.sum() == pytest.approx(5 * 7 * 1.7**2, rel=1e-5)
    assert shares[3, 10] == pytest.approx(0.7, abs=1e-6)
