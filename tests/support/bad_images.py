"""Pictures that must be refused, and odd ones that must come out right, as builders of bytes.

``BAD`` maps a name to a builder. ``GOOD_ODD`` maps a name to a builder and the colour (R, G, B of
255) expected at the top left corner once upright and on white. Every builder is quick and leaves
nothing on disk.
"""

from __future__ import annotations

import random
import re
import struct
import zlib
from collections.abc import Callable
from typing import Any

from PIL import Image

from benchmarks.support.image_files import photo, plain, saved
from benchmarks.support.repository import ROOT

Builder = Callable[[], bytes]
RGB = tuple[int, int, int]

RED: RGB = (255, 0, 0)
BLUE: RGB = (0, 0, 255)
WHITE: RGB = (255, 255, 255)


# Files built by hand: a library would not write them.


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))


def png(width: int, height: int, *chunks: bytes, bits: int = 1, colour: int = 0) -> bytes:
    """A PNG of the stated size (grey, 1 bit) with ``chunks`` between header and end."""
    header = chunk(b"IHDR", struct.pack(">LLBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def zeros(count: int) -> bytes:
    """``count`` zero bytes, compressed, without ever holding them."""
    squeeze = zlib.compressobj(1)
    block = bytes(1 << 20)
    whole, rest = divmod(count, len(block))
    parts = [squeeze.compress(block) for _ in range(whole)]
    return b"".join(parts) + squeeze.compress(bytes(rest)) + squeeze.flush()


def dot() -> bytes:
    """The pixel data of a black 1 x 1 PNG."""
    return chunk(b"IDAT", zlib.compress(b"\0\0"))


def tiff(body: bytes, *tags: tuple[int, int, int, int]) -> bytes:
    """A little-endian TIFF: ``body`` at offset 8, then one directory of (tag, type, count, value),
    where type 3 is a 16-bit and type 4 a 32-bit number."""
    directory = struct.pack("<H", len(tags))
    for tag, kind, count, value in tags:
        directory += struct.pack("<HHL", tag, kind, count)
        directory += struct.pack(
            "<L" if kind == 4 else "<HH", *([value] if kind == 4 else [value, 0])
        )
    return b"II*\0" + struct.pack("<L", 8 + len(body)) + body + directory + bytes(4)


def tiff_tile(side: int) -> bytes:
    """A 64 x 64 TIFF in a single deflated tile of ``side`` x ``side`` pixels."""
    body = zeros(side * side)
    return tiff(
        body,
        *[(256, 4, 1, 64), (257, 4, 1, 64), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1)],
        *[(322, 4, 1, side), (323, 4, 1, side), (324, 4, 1, 8), (325, 4, 1, len(body))],
    )


def tiff_tiles(columns: int, rows: int) -> bytes:
    """A TIFF of plain grey pixels, each in a tile of its own."""
    count = columns * rows
    return tiff(
        struct.pack("<L", 8) * count,
        *[(256, 4, 1, columns), (257, 4, 1, rows), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)],
        *[(322, 4, 1, 1), (323, 4, 1, 1), (324, 4, count, 8), (325, 4, count, 8)],
    )


def bmp(width: int, height: int, body: bytes, *, compression: int = 0) -> bytes:
    """A BMP of the stated size with 8-bit pixels, its palette all black."""
    start = 14 + 40 + 1024
    header = struct.pack(
        "<LllHHLLllLL", 40, width, height, 1, 8, compression, len(body), 0, 0, 256, 0
    )
    return b"BM" + struct.pack("<LLL", start + len(body), 0, start) + header + bytes(1024) + body


def webp_canvas(side: int) -> bytes:
    """An animated WebP of a few bytes that claims a canvas of ``side`` x ``side``."""
    data = bytearray(saved(photo(), "WEBP", save_all=True, append_images=[photo().rotate(90)]))
    start = data.index(b"VP8X") + 12
    data[start : start + 6] = (side - 1).to_bytes(3, "little") * 2
    return bytes(data)


def avif_sized(data: bytes, coded: tuple[int, int], stated: tuple[int, int]) -> bytes:
    """``data``, an AVIF of ``coded`` width and height, with boxes that state another size."""
    data = data.replace(struct.pack(">LL", *coded), struct.pack(">LL", *stated))
    # of a sequence, in 16.16 fixed point
    track = [struct.pack(">HHHH", width, 0, height, 0) for width, height in (coded, stated)]
    return data.replace(track[0], track[1])


def jpeg_sized(data: bytes, width: int, height: int) -> bytes:
    """``data`` with another size in its frame header."""
    start = next(data.index(marker) for marker in (b"\xff\xc0", b"\xff\xc2") if marker in data) + 5
    return data[:start] + struct.pack(">HH", height, width) + data[start + 4 :]


def jpeg_scans() -> bytes:
    """A progressive JPEG of 64 million pixels that goes over all of them 500 times."""
    data = jpeg_sized(saved(plain("L", 128), "JPEG", progressive=True), 8000, 8000)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * 500 + data[-2:]


def icc(space: bytes, pcs: bytes, **tags: bytes) -> bytes:
    """An ICC profile (version 2) of the given colour space, connection space and tags."""
    offset = 128 + 4 + 12 * len(tags)
    table, bodies = struct.pack(">L", len(tags)), b""
    for name, body in tags.items():
        padded = body + bytes(-len(body) % 4)
        table += struct.pack(">4sLL", name.encode(), offset + len(bodies), len(body))
        bodies += padded
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    d50 = struct.pack(">lll", 63190, 65536, 54061)
    header = struct.pack(
        ">L4sL4s4s4s12s4s", offset + len(bodies), b"", 0x02100000, kind, space, pcs, b"", b"acsp"
    )
    return header + bytes(28) + d50 + bytes(48) + table + bodies


def xyz(*values: float) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">lll", *(round(value * 65536) for value in values))


def gamma(value: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">LH", 1, round(value * 256))


def wide_profile() -> bytes:
    """The primaries of Display P3 with a plain gamma of 2.2."""
    red, green, blue = (
        xyz(0.51512, 0.24120, -0.00105),
        xyz(0.29198, 0.69225, 0.04189),
        xyz(0.15710, 0.06657, 0.78407),
    )
    columns = {"rXYZ": red, "gXYZ": green, "bXYZ": blue}
    curves = {f"{name}TRC": gamma(2.2) for name in "rgb"}
    return icc(b"RGB ", b"XYZ ", wtpt=xyz(0.9642, 1, 0.8249), **columns, **curves)


def linear_grey_profile() -> bytes:
    return icc(b"GRAY", b"XYZ ", wtpt=xyz(0.9642, 1, 0.8249), kTRC=gamma(1.0))


def swapped_cmyk_profile() -> bytes:
    """A CMYK profile in which the first ink is red, so that using it cannot go unnoticed."""
    white, red, black = (255, 128, 128), (138, 209, 195), (0, 128, 128)  # Lab in 8 bits
    corners = [red if (i & 0b1000 and not i & 0b0111) else black for i in range(16)]
    corners[0] = white
    ramp = bytes(range(256))
    identity = struct.pack(">9l", *(65536 * (i % 4 == 0) for i in range(9)))
    table = b"".join(bytes(corner) for corner in corners)
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + ramp * 4 + table + ramp * 3
    return icc(b"CMYK", b"Lab ", wtpt=xyz(0.9642, 1, 0.8249), A2B0=lut)


def exif(orientation: int, *, broken: bool = False) -> bytes:
    """An EXIF block with an orientation; ``broken`` adds entries that point nowhere."""
    entries = struct.pack("<HHLHH", 0x0112, 3, 1, orientation, 0)
    if broken:
        entries += struct.pack("<HHLL", 0x010E, 2, 0xFFFFFFF0, 0xFFFFFF00)
        entries += struct.pack("<HHLL", 0x8769, 4, 1, 0xFFFFFFFF)
    count = struct.pack("<H", len(entries) // 12)
    return b"Exif\0\0II*\0" + struct.pack("<L", 8) + count + entries + b"\xff\xff\xff\x7f"


def broken_exif_avif() -> bytes:
    """An AVIF to be turned, with an EXIF block that its decoder stumbles over."""
    block = Image.Exif()
    block.update({0x0112: 6, 0x010E: "a description, without which the block would be dropped"})
    data = saved(quarters(), "AVIF", exif=block)
    assert data.count(b"MM\0*") == 1
    return data.replace(b"MM\0*", b"nono")


def avif_zeros() -> bytes:
    """An AVIF whose sequence header ends in a number of megabytes of zeros."""
    data = saved(photo(), "AVIF")
    start = data.index(b"mdat") + 4
    # A sequence header of 127 bytes up to the picture duration, which begins with its zeros.
    header = b"\x0a\x7f\x04" + bytes(7) + b"\x02"
    return data[:start] + header + bytes(4 << 20)


def quarters() -> Image.Image:
    """48 x 32 pixels: red top left, green top right, blue bottom left, white bottom right."""
    image = Image.new("RGB", (48, 32), WHITE)
    image.paste(RED, (0, 0, 24, 16))
    image.paste((0, 255, 0), (24, 0, 48, 16))
    image.paste(BLUE, (0, 16, 24, 32))
    return image


def heic(name: str) -> bytes:
    """A HEIC that was made by libheif's ``heif-enc``, as nothing that is installed writes them."""
    return (ROOT / "tests" / "support" / "heic" / f"{name}.heic").read_bytes()


def cut(image_bytes: bytes, share: float = 0.6) -> bytes:
    return image_bytes[: int(len(image_bytes) * share)]


def noise(count: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(count)


BAD: dict[str, Builder] = {
    "empty": lambda: b"",
    "one byte": lambda: b"\xff",
    "text": lambda: b"This is no picture, whatever the extension says.\n" * 20,
    "html": lambda: b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "svg": lambda: b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>',
    "pdf": lambda: b"%PDF-1.7\n" + noise(200),
    "zip": lambda: b"PK\x03\x04" + noise(200),
    "heic": lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + noise(200),
    "video": lambda: b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + noise(200),
    "random bytes": lambda: noise(5000),
    "zero bytes": lambda: bytes(5000),
    "another format (PPM)": lambda: saved(photo(), "PPM"),
    "another format (TGA)": lambda: saved(photo(), "TGA"),
    "another format (EPS)": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "truncated JPEG": lambda: cut(saved(photo(), "JPEG")),
    "truncated progressive JPEG": lambda: cut(saved(photo(), "JPEG", progressive=True), 0.9),
    "truncated PNG": lambda: cut(saved(photo(), "PNG")),
    "truncated WebP": lambda: cut(saved(photo(), "WEBP")),
    "truncated BMP": lambda: cut(saved(photo(), "BMP")),
    "truncated TIFF": lambda: cut(saved(photo(), "TIFF")),
    "truncated GIF": lambda: cut(saved(photo(), "GIF"), 0.95),
    "truncated AVIF": lambda: cut(saved(photo(), "AVIF")),
    "truncated HEIC": lambda: cut(heic("turned"), 0.9),
    "HEIC cut in its header": lambda: heic("turned")[:200],
    "HEIC of another size in its header": lambda: re.sub(
        rb"(ispe\0{4}).{8}",
        lambda found: found[1] + b"\0\0\x20\0" * 2,
        heic("turned"),
        flags=re.DOTALL,
    ),
    "JPEG header, then garbage": lambda: b"\xff\xd8\xff\xe0\0\x10JFIF\0" + noise(5000),
    "JPEG cut in its header": lambda: saved(photo(), "JPEG")[:100],
    "JPEG of 12 bits": lambda: saved(photo(), "JPEG").replace(
        b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"
    ),
    "PNG signature only": lambda: b"\x89PNG\r\n\x1a\n",
    "PNG without pixels": lambda: png(8, 8),
    "PNG of no size": lambda: png(0, 0, dot()),
    "PNG with a wrong checksum": lambda: saved(photo(), "PNG").replace(
        b"\x08\x02\0\0\0", b"\x08\x02\0\0\1"
    ),
    "PNG of unknown bits": lambda: png(1, 1, dot(), bits=3),
    "PNG pixels are garbage": lambda: png(64, 64, chunk(b"IDAT", noise(500))),
    "WebP header only": lambda: b"RIFF\x24\0\0\0WEBPVP8 " + bytes(24),
    "GIF without a frame": lambda: b"GIF89a\x10\0\x10\0\0\0\0;",
    "BMP header only": lambda: bmp(8, 8, b""),
    "TIFF pointing outside": lambda: b"II*\0\xf0\xff\xff\xff",
    "TIFF of insane tags": lambda: tiff(
        b"", *[(tag, 4, 0xFFFFFFFF, 0xFFFFFFF0) for tag in range(256, 356)]
    ),
    "TIFF of 65,535 samples": lambda: tiff(
        b"", (256, 4, 1, 8), (257, 4, 1, 8), (262, 3, 1, 2), (277, 3, 1, 65535), (273, 4, 1, 8)
    ),
    "TIFF in a giant tile": lambda: tiff_tile(12_000),
    "TIFF of a million tiles": lambda: tiff_tiles(1000, 1000),
    "big TIFF of a million entries": lambda: (
        b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 10**6) + bytes(20 * 10**6)
    ),
    "float TIFF beyond 1": lambda: saved(plain("F", 200.0), "TIFF"),
    "float TIFF with NaN": lambda: saved(plain("F", float("nan")), "TIFF"),
    "float TIFF with infinity": lambda: saved(plain("F", float("inf")), "TIFF"),
    "32-bit TIFF beyond 65,535": lambda: saved(plain("I", 70_000), "TIFF"),
    "32-bit TIFF below 0": lambda: saved(plain("I", -1), "TIFF"),
    "30,000 x 30,000 PNG, header": lambda: png(30_000, 30_000, dot()),
    "30,000 x 30,000 PNG, whole": lambda: png(30_000, 30_000, chunk(b"IDAT", zeros(30_000 * 3751))),
    "9,000 x 9,000 PNG": lambda: png(9_000, 9_000, dot()),
    "too long a PNG": lambda: png(40_000, 1, dot()),
    "giant PNG": lambda: png(2**31 - 1, 2**31 - 1, dot()),
    "giant JPEG": lambda: jpeg_sized(saved(photo(), "JPEG"), 65_500, 65_500),
    "giant AVIF": lambda: avif_sized(saved(photo(), "AVIF"), (48, 40), (9_000, 9_000)),
    "AVIF of zeros": avif_zeros,
    "giant BMP": lambda: bmp(30_000, 30_000, bytes(1000)),
    "giant GIF": lambda: b"GIF89a\xff\xff\xff\xff" + saved(photo(), "GIF")[10:],
    "giant WebP": lambda: webp_canvas(16_000),
    "large WebP": lambda: webp_canvas(9_000),
    "giant TIFF": lambda: tiff(
        b"\0",
        (256, 4, 1, 30_000),
        (257, 4, 1, 30_000),
        (258, 3, 1, 8),
        (262, 3, 1, 1),
        (273, 4, 1, 8),
    ),
    "run-length BMP that takes long": lambda: bmp(
        30_000, 2_000, b"\1\0\0\0" * 2_000, compression=1
    ),
    "JPEG of 500 scans": jpeg_scans,
    "JPEG of a million segments": lambda: (
        b"\xff\xd8" + b"\xff\xe5\0\2" * 10**6 + saved(photo(), "JPEG")[2:]
    ),
    "PNG with a text bomb (zTXt)": lambda: png(
        1, 1, chunk(b"zTXt", b"a\0\0" + zeros(10**8)), dot()
    ),
    "PNG with a text bomb (iTXt)": lambda: png(
        1, 1, dot(), chunk(b"iTXt", b"a\0\1\0\0\0" + zeros(10**8))
    ),
    "PNG with a profile bomb": lambda: png(1, 1, chunk(b"iCCP", b"a\0\0" + zeros(10**8)), dot()),
}


def animation(kind: str) -> bytes:
    rest = [plain("RGB", BLUE), plain("RGB", (0, 255, 0))]
    return saved(plain("RGB", RED), kind, save_all=True, append_images=rest)


def palette(*, transparency: Any = None) -> Image.Image:
    image = plain("P", 1)
    image.putpalette([*BLUE, *RED])
    if transparency is not None:
        image.info["transparency"] = transparency
    return image


GOOD_ODD: dict[str, tuple[Builder, RGB]] = {
    "1 x 1": (lambda: saved(plain("RGB", (10, 200, 30), 1), "PNG"), (10, 200, 30)),
    "1 bit": (lambda: saved(plain("1", 1), "PNG"), WHITE),
    "16-bit grey PNG": (lambda: saved(plain("I;16", 32896), "PNG"), (128, 128, 128)),
    "16-bit white PNG": (lambda: saved(plain("I;16", 65535), "PNG"), WHITE),
    "16-bit PNG, transparent": (lambda: saved(plain("I;16", 9), "PNG", transparency=9), WHITE),
    "16-bit grey TIFF": (lambda: saved(plain("I;16", 51400), "TIFF"), (200, 200, 200)),
    "16-bit TIFF, big-endian": (lambda: saved(plain("I;16B", 51400), "TIFF"), (200, 200, 200)),
    "16-bit TIFF, white is zero": (
        lambda: saved(plain("I;16", 0), "TIFF", tiffinfo={262: 0}),
        WHITE,
    ),
    "16-bit RGB PNG": (
        lambda: png(
            1, 1, chunk(b"IDAT", zlib.compress(b"\0\xff\xff\x80\x80\0\0")), bits=16, colour=2
        ),
        (255, 128, 0),
    ),
    "32-bit TIFF": (lambda: saved(plain("I", 32896), "TIFF"), (128, 128, 128)),
    "float TIFF": (lambda: saved(plain("F", 0.5), "TIFF"), (128, 128, 128)),
    "grey with alpha": (lambda: saved(plain("LA", (0, 0)), "PNG"), WHITE),
    "half-transparent PNG": (
        lambda: saved(plain("RGBA", (255, 0, 0, 128)), "PNG"),
        (255, 127, 127),
    ),
    "transparent WebP": (lambda: saved(plain("RGBA", (9, 9, 9, 0)), "WEBP", lossless=True), WHITE),
    "transparent AVIF": (lambda: saved(plain("RGBA", (9, 9, 9, 0)), "AVIF"), WHITE),
    "transparent TIFF": (lambda: saved(plain("RGBA", (9, 9, 9, 0)), "TIFF"), WHITE),
    "transparent colour (RGB)": (
        lambda: saved(plain("RGB", (1, 2, 3)), "PNG", transparency=(1, 2, 3)),
        WHITE,
    ),
    "transparent colour (grey)": (lambda: saved(plain("L", 7), "PNG", transparency=7), WHITE),
    "transparent colour (1 bit)": (lambda: saved(plain("1", 0), "PNG", transparency=0), WHITE),
    "palette": (lambda: saved(palette(), "PNG"), RED),
    "palette, transparent": (lambda: saved(palette(transparency=1), "PNG"), WHITE),
    "palette, half-transparent": (
        lambda: saved(palette(transparency=b"\xff\x80"), "PNG"),
        (255, 127, 127),
    ),
    "palette with alpha TIFF": (lambda: saved(palette().convert("PA"), "TIFF"), RED),
    "GIF, transparent": (lambda: saved(palette(), "GIF", transparency=1), WHITE),
    "CMYK JPEG": (lambda: saved(plain("CMYK", (0, 255, 255, 0)), "JPEG"), RED),
    "CMYK TIFF": (lambda: saved(plain("CMYK", (0, 255, 255, 0)), "TIFF"), RED),
    "CMYK with a profile": (
        lambda: saved(plain("CMYK", (255, 0, 0, 0)), "JPEG", icc_profile=swapped_cmyk_profile()),
        (255, 0, 11),
    ),
    "CMYK with a profile of another kind": (
        lambda: saved(plain("CMYK", (0, 255, 255, 0)), "TIFF", icc_profile=wide_profile()),
        RED,
    ),
    "CMYK with a broken profile": (
        lambda: saved(plain("CMYK", (0, 255, 255, 0)), "JPEG", icc_profile=noise(500)),
        RED,
    ),
    "broken profile": (lambda: saved(plain("RGB", RED), "PNG", icc_profile=noise(500)), RED),
    "profile of another kind": (
        lambda: saved(plain("RGB", RED), "PNG", icc_profile=swapped_cmyk_profile()),
        RED,
    ),
    "big TIFF": (lambda: saved(plain("RGB", RED), "TIFF", big_tiff=True), RED),
    "TIFF of many tiles": (lambda: tiff_tiles(50, 50), (8, 8, 8)),
    "YCbCr TIFF": (lambda: saved(plain("RGB", RED).convert("YCbCr"), "TIFF"), RED),
    "LAB TIFF": (lambda: saved(plain("RGB", RED).convert("LAB"), "TIFF"), RED),
    "turned JPEG": (lambda: saved(quarters(), "JPEG", quality=95, exif=exif(6)), BLUE),
    "turned PNG": (lambda: saved(quarters(), "PNG", exif=exif(6)), BLUE),
    "turned WebP": (lambda: saved(quarters(), "WEBP", exif=exif(6)), BLUE),
    "turned TIFF": (lambda: saved(quarters(), "TIFF", tiffinfo={274: 6}), BLUE),
    "turned AVIF": (lambda: saved(quarters(), "AVIF", exif=exif(6)), BLUE),
    # Turned by its own property, as the EXIF of phones says, too: only once.
    "turned HEIC": (lambda: heic("turned"), (0, 0, 254)),
    "turned HEIC, broken EXIF": (
        lambda: heic("turned").replace(b"II*\0", b"\xff\xff\xff\xff"),
        (0, 0, 254),
    ),
    "HEIC of 10 bits": (lambda: heic("ten_bits"), (254, 0, 0)),
    "transparent HEIC": (lambda: heic("transparent"), WHITE),
    "turned, EXIF otherwise broken": (
        lambda: saved(quarters(), "JPEG", quality=95, exif=exif(6, broken=True)),
        BLUE,
    ),
    "broken EXIF": (lambda: saved(quarters(), "JPEG", exif=b"Exif\0\0" + noise(60)), RED),
    "turned AVIF, broken EXIF": (broken_exif_avif, BLUE),
    "orientation out of range": (lambda: saved(quarters(), "PNG", exif=exif(77)), RED),
    "animated GIF": (lambda: animation("GIF"), RED),
    "animated PNG": (lambda: animation("PNG"), RED),
    "animated WebP": (lambda: animation("WEBP"), RED),
    "animated AVIF": (lambda: animation("AVIF"), RED),
    "TIFF of several pages": (lambda: animation("TIFF"), RED),
    "phone JPEG of several pictures": (lambda: animation("MPO"), RED),
    "progressive JPEG": (lambda: saved(plain("RGB", RED), "JPEG", progressive=True), RED),
    "wide and flat": (lambda: saved(Image.new("RGB", (20_000, 1), RED), "PNG"), RED),
    "bytes after the end": (lambda: saved(plain("RGB", RED), "JPEG") + noise(5000), RED),
}
