"""The sizes that an AVIF states twice: in its boxes, and in its AV1 data.

libavif scales the pixels of the data to the size of the boxes, without a word. The layout of the
boxes is that of ISO/IEC 14496-12 and 23008-12, the bits of a sequence header are those of section
5.5 of the AV1 specification.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

_MAX_BOXES = 10_000
"""Largest number of boxes or of places of data; no encoder writes as many."""

_MAX_UNITS = 16
"""A sequence header is among the first units of AV1 data."""

_MAX_ZEROS = 32
"""Numbers of variable length have fewer zeros before them."""

_SEQUENCE_HEADER = 1
"""The type of this unit of AV1 data."""

Size = tuple[int, int]
"""Width and height in pixels."""


class _Span(NamedTuple):
    """Where something begins in the data, and where it ends."""

    start: int
    end: int


def check_sizes(data: bytes) -> None:
    """Raise ``ValueError`` if an image or track states another size than its AV1 data has.

    What is not AV1, and data without a sequence header, is left to the decoder. Raises
    ``ValueError``, ``IndexError`` or ``struct.error`` for boxes that cannot be read.
    """
    for stated, position in [*_item_places(data), *_track_places(data)]:
        coded = _sequence_size(data, position)
        if coded is not None and coded != stated:
            raise ValueError(f"an AVIF of {stated} with data of {coded}")


def _item_places(data: bytes) -> list[tuple[Size, int]]:
    """The stated size of each AV1 image, and where its data begins."""
    meta = _find(data, _Span(0, len(data)), b"meta")
    if meta is None:
        return []
    meta = _Span(meta.start + 4, meta.end)  # a version and flags precede the boxes
    properties = _find(data, meta, b"iprp", b"ipco")
    associations = _find(data, meta, b"iprp", b"ipma")
    locations = _find(data, meta, b"iloc")
    if properties is None or associations is None or locations is None:
        return []
    stored = _find(data, meta, b"idat") or _Span(0, 0)
    item_starts = _item_starts(data, locations.start, stored.start)
    property_boxes = list(_boxes(data, properties))
    places = []
    for item, indices in _property_indices(data, associations.start):
        size = None
        is_av1 = False
        for index in indices:
            if not 1 <= index <= len(property_boxes):
                continue
            kind, span = property_boxes[index - 1]
            if kind == b"ispe":
                size = struct.unpack_from(">4xLL", data, span.start)
            elif kind == b"av1C":
                is_av1 = True
        if size is not None and is_av1 and item in item_starts:
            places.append((size, item_starts[item]))
    return places


def _property_indices(data: bytes, start: int) -> Iterator[tuple[int, list[int]]]:
    """Each item of a box ``ipma`` with the indices of its properties, the first of which is 1."""
    reader = _Bytes(data, start)
    version = reader.number(1)
    flags = reader.number(3)
    item_bytes = 4 if version else 2
    # The upper bit of an index says whether the property is essential.
    if flags & 1:
        index_bytes = 2
        index_mask = 0x7FFF
    else:
        index_bytes = 1
        index_mask = 0x7F
    for _ in range(min(reader.number(4), _MAX_BOXES)):
        item = reader.number(item_bytes)
        count = reader.number(1)
        yield item, [reader.number(index_bytes) & index_mask for _ in range(count)]


def _item_starts(data: bytes, start: int, stored: int) -> dict[int, int]:
    """Where the data of each item of a box ``iloc`` begins; ``stored`` is the start of ``idat``."""
    reader = _Bytes(data, start)
    version = reader.number(1)
    reader.number(3)  # flags
    sizes = reader.number(2)
    offset_bytes = sizes >> 12
    length_bytes = sizes >> 8 & 15
    base_bytes = sizes >> 4 & 15
    index_bytes = sizes & 15 if version else 0
    item_bytes = 4 if version == 2 else 2
    extent_count = 0
    item_starts = {}
    for _ in range(reader.number(item_bytes)):
        item = reader.number(item_bytes)
        is_stored = False
        if version:
            is_stored = reader.number(2) & 15 == 1
        reader.number(2)  # the file that holds it, always this one
        base = reader.number(base_bytes)
        if is_stored:
            base += stored
        extents = reader.number(2)
        extent_count += extents
        if extent_count > _MAX_BOXES:  # without any size a few bytes would declare billions
            raise ValueError(f"{extent_count} places of data in an AVIF")
        for extent in range(extents):
            reader.number(index_bytes)
            offset = reader.number(offset_bytes)
            reader.number(length_bytes)
            if extent == 0:
                item_starts[item] = base + offset
    return item_starts


def _track_places(data: bytes) -> list[tuple[Size, int]]:
    """The stated size of each track of AV1 images, and where its first image begins."""
    movie = _find(data, _Span(0, len(data)), b"moov")
    if movie is None:
        return []
    places = []
    for kind, track in _boxes(data, movie):
        if kind != b"trak":
            continue
        header = _find(data, track, b"tkhd")
        table = _find(data, track, b"mdia", b"minf", b"stbl")
        if header is None or table is None:
            continue
        descriptions = _find(data, table, b"stsd")
        chunks = _find(data, table, b"stco")
        long_chunks = _find(data, table, b"co64")
        if descriptions is None:
            continue
        coding = data[descriptions.start + 12 : descriptions.start + 16]
        if coding != b"av01":
            continue
        # Version, flags and the number of chunks precede the place of the first.
        if chunks is not None:
            (first,) = struct.unpack_from(">8xL", data, chunks.start)
        elif long_chunks is not None:
            (first,) = struct.unpack_from(">8xQ", data, long_chunks.start)
        else:
            continue
        width, height = struct.unpack_from(">LL", data, header.end - 8)
        places.append(((width >> 16, height >> 16), first))  # numbers with 16 binary places
    return places


def _find(data: bytes, within: _Span, *kinds: bytes) -> _Span | None:
    """What the first box of a kind holds, each of ``kinds`` looked for in the one before.

    None where one of them is not there.
    """
    for wanted in kinds:
        for kind, span in _boxes(data, within):
            if kind == wanted:
                within = span
                break
        else:
            return None
    return within


def _boxes(data: bytes, within: _Span) -> Iterator[tuple[bytes, _Span]]:
    """The kind of each box, and what it holds."""
    position, end = within
    for _ in range(_MAX_BOXES):
        if position + 8 > end:
            return
        size, kind = struct.unpack_from(">L4s", data, position)
        head = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, position + 8)
            head = 16
        elif size == 0:  # to the end
            size = end - position
        if size < head:
            raise ValueError("a box that is shorter than its head")
        yield kind, _Span(position + head, min(position + size, end))
        position += size
    raise ValueError("too many boxes in an AVIF")


def _sequence_size(data: bytes, start: int) -> Size | None:
    """The size in the sequence header of AV1 data; None without one among the first units."""
    reader = _Bytes(data, start)
    for _ in range(_MAX_UNITS):
        head = reader.number(1)
        if head & 4:
            reader.number(1)  # layers
        has_length = head & 2
        length = 0
        if has_length:
            length = reader.leb128()
        if head >> 3 & 15 == _SEQUENCE_HEADER:
            return _header_size(_Bits(data, reader.position))
        if not has_length:  # the last unit
            return None
        reader.position += length
        if reader.position >= len(data):
            return None
    return None


def _header_size(bits: _Bits) -> Size:
    """The largest size of a frame, from a sequence header."""
    bits.read(4)  # profile, and whether it is a still image
    is_reduced = bits.read(1)
    if is_reduced:
        bits.read(5)  # level
    else:
        _skip_operating_points(bits)
    width_bits = bits.read(4) + 1
    height_bits = bits.read(4) + 1
    width = bits.read(width_bits) + 1
    height = bits.read(height_bits) + 1
    return width, height


def _skip_operating_points(bits: _Bits) -> None:
    """Skip what a sequence header says of timing and of each operating point."""
    delay_bits = 0
    has_timing = bits.read(1)
    if has_timing:
        bits.read(64)
        has_equal_intervals = bits.read(1)
        if has_equal_intervals:
            bits.skip_uvlc()
        has_decoder_model = bits.read(1)
        if has_decoder_model:
            delay_bits = bits.read(5) + 1
            bits.read(42)
    has_display_delays = bits.read(1)
    for _ in range(bits.read(5) + 1):
        bits.read(12)
        level = bits.read(5)
        if level > 7:
            bits.read(1)
        if delay_bits:
            has_delays = bits.read(1)
            if has_delays:
                bits.read(2 * delay_bits + 1)
        if has_display_delays:
            has_delay = bits.read(1)
            if has_delay:
                bits.read(4)


class _Bytes:
    """Reads big-endian numbers one after the other; past the end raises ``ValueError``."""

    def __init__(self, data: bytes, position: int) -> None:
        self.data = data
        self.position = position

    def number(self, size: int) -> int:
        """The next number of ``size`` bytes; 0 for no bytes."""
        end = self.position + size
        if end > len(self.data):
            raise ValueError("a number past the end of an AVIF")
        number = int.from_bytes(self.data[self.position : end])
        self.position = end
        return number

    def leb128(self) -> int:
        """The next number of AV1, whose bytes hold 7 bits each, the lowest first."""
        number = 0
        for index in range(8):
            byte = self.number(1)
            number |= (byte & 127) << 7 * index
            if not byte & 128:
                break
        return number


class _Bits:
    """Reads numbers of some bits one after the other, the highest bit first."""

    def __init__(self, data: bytes, position: int) -> None:
        self.data = data
        self.position = 8 * position

    def read(self, count: int) -> int:
        """The next number of ``count`` bits; past the end raises ``IndexError``."""
        number = 0
        for _ in range(count):
            byte = self.data[self.position // 8]
            number = number << 1 | byte >> 7 - self.position % 8 & 1
            self.position += 1
        return number

    def skip_uvlc(self) -> None:
        """Skip a number that as many zeros precede as it has bits after its first.

        Raises ``ValueError`` for 32 zeros: no number has them, and without a limit a file of zeros
        would be read bit by bit.
        """
        zeros = 0
        while not self.read(1):
            zeros += 1
            if zeros == _MAX_ZEROS:
                raise ValueError("a number of more than 32 bits in an AVIF")
        self.read(zeros)
