"""The wire format of protocol buffers, read field by field without their packages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

MOST_FIELDS = 2_000_000
"""Fields that are read of one file: an ONNX file of 20,000 nodes has a tenth of that."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MOST_VARINT_BYTES = 10


class ProtobufError(ValueError):
    """The bytes are not a message, or one with far too many fields."""


class Message:
    """A message within an open file, from ``start`` to ``end``; nothing of it is kept in memory."""

    def __init__(self, file: BinaryIO, start: int, end: int, budget: list[int] | None = None):
        self._file, self._start, self.end = file, start, end
        self._budget = [MOST_FIELDS] if budget is None else budget  # shared with all within it

    def fields(self) -> Iterator[tuple[int, int | Message]]:
        """Each field's number, with its integer, or the message or bytes it holds.

        Raises ``ProtobufError`` where the bytes are no message.
        """
        at = self._start
        while at < self.end:
            self._budget[0] -= 1
            if self._budget[0] < 0:
                raise ProtobufError("too many fields")
            self._file.seek(at)
            key = self._varint()
            kind, number = key & 7, key >> 3
            if kind == _VARINT:
                value: int | Message = self._varint()
                at = self._file.tell()
            elif kind == _BYTES:
                length = self._varint()
                start = self._file.tell()
                at = start + length
                value = Message(self._file, start, at, self._budget)
            elif kind in (_FIXED64, _FIXED32):
                at = self._file.tell() + (8 if kind == _FIXED64 else 4)
                value = 0
            else:
                raise ProtobufError(f"wire type {kind}")
            if at > self.end:
                raise ProtobufError("a field that ends outside of its message")
            yield number, value

    def messages(self, number: int) -> Iterator[Message]:
        """The fields of this ``number`` that hold messages or bytes."""
        for found, value in self.fields():
            if found == number and isinstance(value, Message):
                yield value

    def text(self, most: int = 1 << 16) -> str:
        """Its bytes as text; raises ``ProtobufError`` for more than ``most`` of them."""
        if self.end - self._start > most:
            raise ProtobufError("a text that is too long")
        self._file.seek(self._start)
        return self._file.read(self.end - self._start).decode("utf-8", "replace")

    def _varint(self) -> int:
        value = 0
        for place in range(_MOST_VARINT_BYTES):
            byte = self._file.read(1)
            if not byte:
                raise ProtobufError("the end of the file within a field")
            value |= (byte[0] & 0x7F) << 7 * place
            if byte[0] < 0x80:
                return value
        raise ProtobufError("a number that is too long")
