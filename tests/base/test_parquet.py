"""What Parquet files claim: what their rows bear out, or a sentence."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robustness.base.parquet import DICTIONARIES, MAX_FOOTER, ClaimsError, claims

TABLE = pa.table(
    {
        "name": [f"{number}.png" for number in range(1000)],
        "shares": [[number / 1000] * (number % 4) for number in range(1000)],
        "there": [number % 3 == 0 or None for number in range(1000)],
    }
)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zstd", "data_page_version": "2.0"},
        {"use_dictionary": False, "write_statistics": False},
        {"row_group_size": 77, "data_page_size": 64},
        {"compression": "none", "write_page_index": True},
    ],
    ids=str,
)
def test_honest_claims_are_what_the_file_holds(tmp_path: Path, options: dict[str, Any]) -> None:
    pq.write_table(TABLE.replace_schema_metadata({"a": "b"}), tmp_path / "t.parquet", **options)
    found = claims(tmp_path / "t.parquet")
    about = pq.read_metadata(tmp_path / "t.parquet")
    assert (found.rows, found.notes[b"a"]) == (1000, b"b")
    assert 1 < found.most_values <= 2
    assert list(found.encodings) == ["name", "shares.list.element", "there"]
    assert bool(found.encodings["name"] & DICTIONARIES) == ("use_dictionary" not in options)
    groups = [about.row_group(place) for place in range(about.num_row_groups)]
    columns = [group.column(place) for group in groups for place in range(3)]
    headers = sum(column.total_uncompressed_size for column in columns)  # with those of pages
    assert 0.2 * headers < found.unpacked < headers


def test_a_table_without_rows_claims_none(tmp_path: Path) -> None:
    pq.write_table(TABLE.slice(0, 0), tmp_path / "t.parquet")
    assert claims(tmp_path / "t.parquet").rows == 0


def test_a_file_that_is_changed_anywhere_is_a_lie_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(TABLE.slice(0, 50), path, compression="none")
    data = path.read_bytes()
    length = int.from_bytes(data[-8:-4], "little")
    chance = random.Random(0)
    refused = 0
    for _ in range(300):
        place = chance.randrange(len(data) - 8 - length, len(data))
        path.write_bytes(data[:place] + bytes([chance.randrange(256)]) + data[place + 1 :])
        try:
            found = claims(path)
        except ClaimsError:
            refused += 1
        else:
            assert found.rows < 10**6
            assert found.unpacked < 10**6
            assert found.most_values < 100
    assert refused > 50


def test_pages_with_more_values_than_their_column_are_a_lie(tmp_path: Path) -> None:
    """A page of a few bytes may repeat one value two thousand million times."""
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"n": pa.array([7] * 60, pa.int32())}), path, use_dictionary=False)
    data = path.read_bytes()
    header = data.index(b"\x2c\x15\x78")  # field 5, a structure; its field 1: 60 values
    path.write_bytes(data[: header + 2] + b"\x7a" + data[header + 3 :])
    with pytest.raises(ClaimsError, match="pages with other values than their column"):
        claims(path)


def test_a_large_footer_and_a_pipe_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(bytes(MAX_FOOTER + 100) + (MAX_FOOTER + 1).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(ClaimsError, match="its footer has 8,388,609 bytes, more than 8,388,608"):
        claims(path)
    path.write_bytes(b"PAR1")
    with pytest.raises(ClaimsError, match="there is no footer"):
        claims(path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="pipe or device"):
        claims(tmp_path / "pipe")
