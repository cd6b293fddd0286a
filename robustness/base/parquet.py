"""The claimed sizes of an untrusted Parquet file, read before any library opens it.

A footer or a page of a few bytes may claim any number of values or any unpacked size, and a reader
that allocates them runs out of memory. ``claims`` reads these numbers (Thrift's compact protocol)
and allocates nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from robustness.base.disk import require_regular

MAX_FOOTER = 8 * 1024**2
MAX_ITEMS = 200_000
"""Most structures and list elements in the footer; a thousand per row group is usual."""

_MAX_DEPTH = 12
_MAX_PAGES = 1_000_000
_PAGE_HEADER = 64 * 1024  # mostly statistics of up to 4 KB each
_MAGIC = b"PAR1"

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _TEXT, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_BITS = {_I16: 16, _I32: 32, _I64: 64}
_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
_HEADERS = {_DATA: (5, 2), _DICTIONARY: (7, 2), _DATA_V2: (8, 4)}
"""By type of page: the field of its own header, and the field of the encoding in that."""

PLAIN, DICTIONARIES, BY_LENGTH = frozenset({0, 3}), frozenset({2, 8}), frozenset({6})
"""Accepted encodings: plain, run-length, dictionary (which repeats texts at no cost), and texts
with their lengths first. Others may expand without bounds."""


class ClaimsError(Exception):
    """The file is not Parquet, contradicts itself, or claims too much."""


@dataclass(frozen=True)
class Claims:
    """The claims of a file.

    ``unpacked`` is the size of all pages in bytes, ``most_values`` the largest number of values per
    row in a column of a row group. ``encodings`` are those of each column, by its dotted path.
    ``notes`` are the key-value texts, ``footer`` is the size of everything but rows in bytes.
    """

    rows: int
    unpacked: int
    most_values: float
    encodings: Mapping[str, frozenset[int]]
    notes: Mapping[bytes, bytes]
    footer: int


def claims(path: Path) -> Claims:
    """Read the claims of the file ``path``.

    Raises ``ClaimsError`` unless it consists of whole pages of whole columns, and ``OSError`` if it
    cannot be read.
    """
    require_regular(path)
    try:
        with path.open("rb") as file:
            return _claims(file)
    except (IndexError, ValueError, TypeError, KeyError) as error:
        raise ClaimsError(f"it is no whole Parquet file ({error})") from error


def _claims(file: BinaryIO) -> Claims:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 8))
    end = file.read(8)
    length = int.from_bytes(end[:4], "little")
    if end[4:] != _MAGIC or length > size - 12:
        raise ValueError("there is no footer")
    if length > MAX_FOOTER:
        raise ClaimsError(f"its footer has {length:,} bytes, more than {MAX_FOOTER:,}")
    file.seek(size - 8 - length)
    about = _Thrift(file.read(length), MAX_ITEMS).struct()
    rows, most = 0, 0.0
    pages = _Pages(file, size - 8 - length)
    for group in _structs(about, 4):
        number = _whole(group, 3, _I64)
        rows += number
        for column in _structs(group, 1):
            if 1 in column:
                raise ValueError("a column in another file")
            values = pages.check(_field(column, 3, _STRUCT))
            most = max(most, values / max(number, 1))
    if 8 in about or rows != _whole(about, 3, _I64):
        raise ValueError("rows that are hidden or missing")
    encodings = {path: frozenset(found) for path, found in pages.encodings.items()}
    notes = {_field(n, 1, _TEXT): _field(n, 2, _TEXT, b"") for n in _structs(about, 5)}
    return Claims(rows, pages.unpacked, most, encodings, notes, length)


class _Pages:
    """Walks over the headers of pages, as a reader does."""

    def __init__(self, file: BinaryIO, end: int) -> None:
        self.file, self.end = file, end
        self.pages = self.unpacked = 0
        self.encodings: dict[str, set[int]] = {}

    def check(self, column: Mapping[int, Any]) -> int:
        """The number of values of ``column``; raises ``ValueError`` unless its pages have as
        many."""
        values, place = _whole(column, 5, _I64), _whole(column, 9, _I64)
        dictionary = _whole(column, 11, _I64, 0)
        if 0 < dictionary < place:
            place = dictionary
        path = b".".join(_field(column, 3, _LIST)[1]).decode()
        encodings = self.encodings.setdefault(path, set())
        seen = 0
        while seen < values:
            place, number = self._page(place, encodings)
            seen += number
        if seen != values:
            raise ValueError("pages with other values than their column")
        return values

    def _page(self, place: int, encodings: set[int]) -> tuple[int, int]:
        """The position after the page at ``place``, and its number of values."""
        self.pages += 1
        if self.pages > _MAX_PAGES or place >= self.end:
            raise ValueError("pages without end")
        self.file.seek(place)
        thrift = _Thrift(self.file.read(min(_PAGE_HEADER, self.end - place)), MAX_ITEMS)
        header = thrift.struct()
        kind, unpacked = _whole(header, 1, _I32), _whole(header, 2, _I32)
        behind = place + thrift.place + _whole(header, 3, _I32)
        self.unpacked += unpacked
        if behind > self.end:
            raise ValueError("a page that is cut off")
        if kind not in _HEADERS:
            return behind, 0
        within, encoding = _HEADERS[kind]
        own = _field(header, within, _STRUCT)
        number = _whole(own, 1, _I32)
        if kind == _DICTIONARY:
            if number > unpacked:
                raise ValueError("more words in a dictionary than it has bytes")
            return behind, 0
        encodings.add(_whole(own, encoding, _I32))
        return behind, number


class _Thrift:
    """A reader of Thrift's compact protocol that never allocates more than the bytes it has."""

    def __init__(self, data: bytes, items: int) -> None:
        self.data, self.place, self.items = data, 0, items

    def struct(self, depth: int = 0) -> dict[int, tuple[int, Any]]:
        """Its fields by number, each with its type; none may repeat."""
        found: dict[int, tuple[int, Any]] = {}
        field = 0
        self._item(depth)
        while header := self._byte():
            kind, step = header & 15, header >> 4
            field = field + step if step else self._number(_I16)
            if field in found:
                raise ValueError("a field twice")
            bool_ = kind in (_TRUE, _FALSE)
            found[field] = (kind, kind == _TRUE if bool_ else self._value(kind, depth + 1))
        return found

    def _value(self, kind: int, depth: int) -> Any:
        if kind in _BITS:
            return self._number(kind)
        if kind == _TEXT:
            return self._bytes(self._varint())
        if kind == _STRUCT:
            return self.struct(depth)
        if kind in (_LIST, _SET):
            return self._list(depth)
        if kind in (_TRUE, _FALSE, _BYTE):
            return self._byte()
        if kind == _DOUBLE:
            return self._bytes(8)
        raise ValueError("a value of an unknown type")  # Parquet has none of these

    def _list(self, depth: int) -> tuple[int, list[Any]]:
        header = self._byte()
        kind, size = header & 15, header >> 4
        if size == 15:
            size = self._varint()
        if size > len(self.data) - self.place:
            raise ValueError("a list that is longer than the file")
        values = []
        for _ in range(size):
            self._item(depth)
            values.append(self._value(kind, depth + 1))
        return kind, values

    def _item(self, depth: int) -> None:
        self.items -= 1
        if self.items < 0 or depth > _MAX_DEPTH:
            raise ClaimsError("its footer lists far more than a table of images needs")

    def _byte(self) -> int:
        self.place += 1
        return self.data[self.place - 1]

    def _bytes(self, size: int) -> bytes:
        start, self.place = self.place, self.place + size
        if self.place > len(self.data):
            raise ValueError("a text that is cut off")
        return self.data[start : self.place]

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("a number without end")

    def _number(self, kind: int) -> int:
        folded = self._varint()
        if folded >> _BITS[kind]:
            raise ValueError("a number that is too large")
        return (folded >> 1) ^ -(folded & 1)


_REQUIRED = object()


def _field(struct: Mapping[int, Any], number: int, kind: int, default: Any = _REQUIRED) -> Any:
    """The value of a field; refuses another type, which readers would skip."""
    if number not in struct and default is not _REQUIRED:
        return default
    found, value = struct[number]
    if found != kind:
        raise ValueError("a field of another type")
    return value


def _whole(struct: Mapping[int, Any], number: int, kind: int, default: Any = _REQUIRED) -> int:
    value: int = _field(struct, number, kind, default)
    if value < 0:
        raise ValueError("a number below zero")
    return value


def _structs(struct: Mapping[int, Any], number: int) -> list[Any]:
    kind, values = _field(struct, number, _LIST, (_STRUCT, []))
    if kind != _STRUCT and values:
        raise ValueError("a list of another type")
    return list(values)
