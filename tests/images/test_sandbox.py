"""Images decoded apart: the same to the bit, within one budget; a bomb costs one image."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.support.image_files import photo, plain, saved, webp_bomb
from benchmarks.support.repository import ROOT
from robustness.base.errors import ImageError, ParameterError
from robustness.base.workers import Workers
from robustness.images import decoding, framing, sandbox
from robustness.images.decoding import decode, sample_bytes
from tests.support.bad_images import BAD, GOOD_ODD, Builder, avif_sized

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:::PIL.{module}")
    for module in ("Image", "JpegImagePlugin", "PngImagePlugin", "TiffImagePlugin")
]


@pytest.fixture
def odd_workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Workers]:
    """In the place of decoders: processes that do as the name of an image says."""
    workers = Workers("tests.support.odd_worker", 2)
    monkeypatch.setattr(sandbox, "_WORKERS", workers)
    yield workers
    workers.end()


def outcome(decoder: object, data: bytes, **options: object) -> bytes | str:
    try:
        return decoder(data, name="a b.png", **options).tobytes()  # type: ignore[operator]
    except ImageError as error:
        return str(error)


def test_what_comes_out_is_what_this_process_would_make() -> None:
    builders = [*(builder for builder, _ in GOOD_ODD.values()), *list(BAD.values())[::4]]
    files = [builder() for builder in builders]
    with ThreadPoolExecutor(2) as pool:
        apart = list(pool.map(lambda data: outcome(sandbox.untrusted_image, data), files))
    assert apart == [outcome(framing.study_image, data) for data in files]


def test_a_killed_decoder_costs_nothing_and_one_that_breaks_costs_one_picture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = sample_bytes("rocket")
    sandbox.untrusted_image(data)
    for pid in sandbox._WORKERS.pids():
        os.kill(pid, signal.SIGKILL)
    np.testing.assert_array_equal(
        sandbox.untrusted_image(data),
        framing.study_image(data),
    )
    with monkeypatch.context() as patch:
        breaks = Workers("tests.support.no_such_module", 2)  # ends before it answers
        patch.setattr(sandbox, "_WORKERS", breaks)
        with pytest.raises(ImageError, match=r'^"odd.png" broke its decoder: '):
            sandbox.untrusted_image(data, name="odd.png")
    sandbox.untrusted_image(data)


def flat_avif(side: int, stated: tuple[int, int], mode: str = "RGB", **options: object) -> bytes:
    """An AVIF of one colour, ``side`` x ``side``, whose boxes state another size."""
    image = plain(mode, (40, 90, 160, 90)[: len(mode)], side)
    if options:
        options["append_images"] = [image]
    return avif_sized(saved(image, "AVIF", speed=10, **options), (side, side), stated)


AVIF_OF_ANOTHER_SIZE: dict[str, tuple[Builder, bool]] = {
    "a little taller": (lambda: flat_avif(128, (128, 256)), True),
    "a little taller, transparent": (lambda: flat_avif(128, (128, 256), "RGBA"), True),
    "a little taller, sequence": (lambda: flat_avif(128, (128, 256), save_all=True), True),
    "much larger": (lambda: flat_avif(128, (3000, 2000)), True),
    "much smaller": (lambda: flat_avif(2000, (30, 30)), True),
    "far too large": (lambda: flat_avif(6000, (100, 100)), False),
    "far too large, transparent": (lambda: flat_avif(4000, (100, 100), "RGBA"), False),
}
"""Whether the size in its boxes, to which the library scales, ends in an image."""


@pytest.mark.parametrize("name", AVIF_OF_ANOTHER_SIZE)
def test_an_avif_of_another_size_than_it_states_ends_in_an_image_or_one_sentence(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("this system limits no memory")
    build, is_read = AVIF_OF_ANOTHER_SIZE[name]
    data = build()
    workers = Workers("robustness.images.decoding_process", 1)
    monkeypatch.setattr(sandbox, "_WORKERS", workers)
    sandbox.untrusted_image(saved(photo(), "PNG"))
    (pid,) = workers.pids()
    before = peak_of(pid)
    try:
        got = outcome(sandbox.untrusted_image, data)
        assert workers.pids() == [pid], "it goes on"
        grown = peak_of(pid) - before
    finally:
        workers.end()
    if is_read:
        assert isinstance(got, bytes)
    else:
        assert isinstance(got, str)
        assert got.startswith('"a b.png" cannot be decoded: expected a whole image, ')
    limit = 200 if name == "much larger" else sandbox.SMALL >> 20
    assert grown <= limit, "MiB at the peak"


def peak_of(pid: int) -> int:
    """The most memory that a process has had, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s+(\d+)", status)
    assert found is not None
    return int(found[1]) >> 10


def test_what_takes_too_long_gets_a_sentence(
    odd_workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "SECONDS", 0)
    monkeypatch.setattr(sandbox.json, "dumps", lambda _: "spin")
    with pytest.raises(ImageError, match=r'^"slow.png" takes too long to decode: ') as raised:
        sandbox.untrusted_image(b"any", name="slow.png")
    assert not isinstance(raised.value, sandbox.BusyError)


def test_an_image_that_ended_its_decoder_is_not_tried_again(
    odd_workers: Workers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mark = tmp_path / "times"
    monkeypatch.setattr(sandbox.json, "dumps", lambda _: f"note and die {mark}")
    for name in ("one.png", "same.png"):
        with pytest.raises(ImageError, match=rf'^"{name}" broke its decoder: '):
            sandbox.untrusted_image(b"bad", name=name)
    assert mark.read_text() == "died "


LARGE = """
import sys
from robustness.images import sandbox
with sandbox._only_large_one(None):
    print(flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_by_another_process() -> Iterator[None]:
    """Another process decodes a large image."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", LARGE], cwd=ROOT, stdin=pipe, stdout=pipe) as it:
        assert it.stdout is not None
        it.stdout.readline()
        yield
        it.communicate()


def test_who_waited_in_vain_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(plain("RGB", 0, 3000), "PNG")
    with (
        held_by_another_process(),
        pytest.raises(sandbox.BusyError, match=r"^The image was not decoded within"),
    ):
        sandbox.untrusted_image(data, patience=0.5)
    assert sandbox.untrusted_image(data).shape == (224, 224, 3)


def test_what_is_small_does_not_wait_for_what_is_large() -> None:
    with held_by_another_process():
        sandbox.untrusted_image(saved(photo(1280, 720), "JPEG"), patience=30)


def test_a_picture_that_exceeds_the_budget_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBUSTNESS_DECODE_MEMORY", "100MB")
    if not Path("/proc/self/statm").exists():
        pytest.skip("this system limits no memory")
    with pytest.raises(ImageError, match=r"^The image needs too much memory to decode"):
        sandbox.untrusted_image(webp_bomb(2500))
    monkeypatch.setenv("ROBUSTNESS_DECODE_MEMORY", "much")
    with pytest.raises(ParameterError, match="decode_memory"):
        sandbox.untrusted_image(webp_bomb(2500))


def test_a_camera_jpeg_of_108_megapixels_is_read_at_half_its_size() -> None:
    small = Image.fromarray(np.asarray(photo(240, 180)))
    large = small.resize((12_000, 9_000), Image.Resampling.BICUBIC)
    expected = framing.fit(large.crop((0, 0, *large.size)))
    data = saved(large, "JPEG", quality=95)
    del large
    framed, properties = sandbox.measured_image(data, [framing.STUDY_FRAMING])
    levels = np.abs(framed.pixels[0] - np.rint(255 * expected))
    assert levels.max() <= 3
    assert properties["original_size"] == 108
    assert properties["aspect"] == pytest.approx(4 / 3)


def test_only_a_jpeg_may_have_more_pixels() -> None:
    image = photo(80, 60)
    decoded = decode(saved(image, "JPEG", quality=95), pixels=80 * 60 // 4)
    assert decoded.size == (40, 30)
    for kind, pixels in (("JPEG", 80 * 60 // 4 - 1), ("PNG", 80 * 60 - 1)):
        with pytest.raises(ImageError, match="has too many pixels"):
            decode(saved(image, kind), pixels=pixels)


@pytest.mark.parametrize(("mode", "lossless"), [("RGB", False), ("RGB", True), ("RGBA", False)])
def test_the_canvas_of_a_webp_is_what_the_library_makes(mode: str, lossless: bool) -> None:
    data = saved(photo(37, 21).convert(mode), "WEBP", lossless=lossless)
    assert decoding.webp_canvas(data) == decode(data).size == (37, 21)
    assert decoding.webp_canvas(data[:29]) is None
    assert decoding.webp_canvas(saved(photo(), "PNG")) is None


FIVE_AT_ONCE = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from robustness.base.workers import Worker, Workers
from robustness.images import sandbox

sandbox._WORKERS = Workers("robustness.images.decoding_process", 4)
# The budget is reckoned by it, whatever machine this is.
sandbox.PROCESSES = 2
made, resident, done = [], [], threading.Event()
init = Worker.__init__
Worker.__init__ = lambda self, module: (init(self, module), made.append(self.pid))[0]

def megabytes():
    return sum(int(Path(f"/proc/{p}/statm").read_text().split()[1]) for p in ["self", *made]) >> 8

def watch():
    while not done.wait(0.002):
        resident.append(megabytes())

bomb = Path(sys.argv[1]).read_bytes()
with ThreadPoolExecutor(5) as pool:
    small = (Path(sys.argv[2]).read_bytes(),) * 5
    list(pool.map(sandbox.untrusted_image, small))
    before = megabytes()
    watching = threading.Thread(target=watch)
    watching.start()
    images = list(pool.map(sandbox.untrusted_image, (bomb,) * 5))
    done.set()
    watching.join()
assert len(made) > 1 and all((image == images[0]).all() for image in images)
print(before, max(resident), megabytes())
"""


def test_five_bombs_at_once_stay_within_the_budget(tmp_path: Path) -> None:
    if not Path("/proc/self/statm").exists():
        pytest.skip("this system does not tell the memory of a process")
    (tmp_path / "bomb").write_bytes(webp_bomb(2000))  # 64 megabytes each
    (tmp_path / "small").write_bytes(saved(photo(), "PNG"))
    done = subprocess.run(
        [sys.executable, "-c", FIVE_AT_ONCE, tmp_path / "bomb", tmp_path / "small"],
        cwd=ROOT,
        env={**os.environ, "ROBUSTNESS_DECODE_MEMORY": "250MB"},
        capture_output=True,
        text=True,
        check=True,
    )
    before, most, after = map(int, done.stdout.split())
    assert 30 < most - before < 110, "one at a time"
    assert after - before < 50, "given back"
