"""What untrusted Parquet files hold, whatever they claim; or a sentence."""

from __future__ import annotations

import os
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.support.process_memory import growing_at_most
from robustness.base import parquet
from robustness.base.errors import ParameterError
from robustness.base.parquet_process import MAX_FOOTER
from tests.support.large_files import terabyte

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
        {"compression": "zstd", "data_page_version": "2.0", "row_group_size": 77},
        {"use_dictionary": False, "column_encoding": {"name": "DELTA_BYTE_ARRAY"}},
    ],
    ids=str,
)
def test_an_honest_file_is_read(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "t.parquet"
    coded = TABLE.set_column(0, "name", TABLE["name"].dictionary_encode())
    for table in (TABLE, coded if options == {} else TABLE, TABLE.slice(0, 0)):
        pq.write_table(table.replace_schema_metadata({"a": "b"}), path, **options)
        assert parquet.columns(path) == [
            ("name", False),
            ("shares", True),
            ("there", False),
        ]
        found = parquet.read(path)
        assert found.equals(TABLE.slice(0, len(table)))
        assert found.schema.metadata is None
    assert parquet.read(path, ["there"]).column_names == ["there"]


def test_a_file_of_a_terabyte_is_refused_whatever_its_footer_says(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(TABLE, path)
    data = path.read_bytes()
    with terabyte(path).open("r+b") as file:
        file.write(data)
        file.seek(-len(data), os.SEEK_END)
        file.write(data)
    for ask in (parquet.columns, parquet.read):
        with pytest.raises(OSError, match=r"1,099,.* bytes are more than the 4,294"):
            ask(path)


def test_a_file_that_is_changed_anywhere_is_refused_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(TABLE.slice(0, 50), path, compression="none")
    data = path.read_bytes()
    length = int.from_bytes(data[-8:-4], "little")
    chance = random.Random(0)
    refused = 0
    for _ in range(60):
        place = chance.randrange(len(data) - 8 - length, len(data))
        path.write_bytes(data[:place] + bytes([chance.randrange(256)]) + data[place + 1 :])
        try:
            found = parquet.read(path)
        except (ValueError, ParameterError):
            refused += 1
        else:
            assert found.num_rows < 10**6
            assert found.nbytes < 10**6
    assert refused > 12


def test_pages_with_more_values_than_their_column_are_refused(tmp_path: Path) -> None:
    """A page of a few bytes may repeat one value two thousand million times."""
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"n": pa.array([7] * 60, pa.int32())}), path, use_dictionary=False)
    data = path.read_bytes()
    header = data.index(b"\x2c\x15\x78")  # field 5, a structure; its field 1: 60 values
    for number in (b"\x7a", b"\xfe\xff\xff\xff\x0f"):
        path.write_bytes(data[: header + 2] + number + data[header + 3 :])
        with suppress(ValueError):
            assert parquet.read(path).num_rows == 60


def test_texts_beyond_all_memory_are_refused(tmp_path: Path) -> None:
    """20 GB of text in 70 KB."""
    path = tmp_path / "t.parquet"
    rows = pa.array([0] * 10_000, pa.int32())
    pq.write_table(
        pa.table({"name": pa.DictionaryArray.from_arrays(rows, ["x" * 2_000_000])}),
        path,
        compression="zstd",
    )
    assert path.stat().st_size < 100_000
    with growing_at_most(20), pytest.raises(ParameterError, match="would expand to more than 33,"):
        parquet.read(path)


def test_a_large_footer_and_a_pipe_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(TABLE.replace_schema_metadata({"a": "b" * MAX_FOOTER}), path)
    with pytest.raises(ParameterError, match="list 3 columns and far more about them"):
        parquet.read(path)
    path.write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="no whole Parquet file"):
        parquet.columns(path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="pipe or device"):
        parquet.read(tmp_path / "pipe")
