"""The rows as files: CSV with its columns explained in a second file, Parquet, and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import datetime
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from robustness.base.text import csv_cell, visible
from robustness.evaluation.row_schema import dictionary, schema
from robustness.report.blocks import Report

FORMAT, VERSION = "robustness report", 1
_AT_ONCE = 4096  # rows in memory as Python objects


def csv_file(report: Report, file: IO[bytes], when: datetime) -> None:
    """The rows, RFC 4180 in UTF-8; lists are JSON, what is not known is an empty cell.

    Nothing but the head and the rows, so that every reader takes it; ``columns_file`` explains it.
    """
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.DictWriter(text, schema(report.data.own).names)
    writer.writerow({name: csv_cell(name) for name in writer.fieldnames})

    def cell(value: Any) -> Any:
        if isinstance(value, str):
            return csv_cell(value)
        return json.dumps(value, allow_nan=False) if isinstance(value, bool | list) else value

    for row in _rows(report):
        writer.writerow({name: cell(value) for name, value in row.items()})
    text.detach()


def csv_text(text: str) -> str:
    """``text`` as ``csv_file`` writes it into a cell."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([csv_cell(text)])
    return line.getvalue()


def columns_file(report: Report, file: IO[bytes], when: datetime) -> None:
    """The data dictionary as CSV."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    columns = dictionary(report.data.own)
    writer = csv.writer(text)
    writer.writerow(columns[0])
    writer.writerows(map(csv_cell, column.values()) for column in columns)
    text.detach()


def parquet_file(report: Report, file: IO[bytes], when: datetime) -> None:
    """The rows; each column's meaning is in its metadata, the manifest in that of the schema."""
    plain = schema(report.data.own)
    columns = dictionary(report.data.own)
    fields = [field.with_metadata(about) for field, about in zip(plain, columns, strict=True)]
    document = {
        "format": FORMAT,
        "version": VERSION,
        "title": visible(report.title),
        "manifest": report.manifest,
        "data_dictionary": columns,
    }
    explained = pa.schema(fields, {"robustness_report": json.dumps(document, allow_nan=False)})
    with pq.ParquetWriter(file, explained, compression="zstd") as writer:
        for table in report.data.read():
            writer.write_table(table.cast(plain).replace_schema_metadata(None).cast(explained))


def json_file(report: Report, file: IO[bytes], when: datetime) -> None:
    """One document: what the report says, its tables, the data dictionary, and the rows."""
    document = {
        "format": FORMAT,
        "version": VERSION,
        "created": when.isoformat(timespec="seconds"),
        "title": visible(report.title),
        "question": report.question,
        "answer": report.answer,
        "cautions": report.cautions,
        "limits": report.limits,
        "manifest": report.manifest,
        "data_dictionary": dictionary(report.data.own),
        **report.data.tables,
    }
    # ASCII alone, as everywhere that the program prints JSON.
    head = json.dumps(document, indent=1, allow_nan=False)
    file.write(head.removesuffix("\n}").encode() + b',\n "rows": [')
    for number, row in enumerate(_rows(report)):
        file.write(b",\n  " if number else b"\n  ")
        file.write(json.dumps(row, allow_nan=False).encode())
    file.write(b"\n ]\n}\n")


def json_text(text: str) -> str:
    """``text`` as ``json_file`` writes it: in quotes, in ASCII."""
    return json.dumps(text)


def _rows(report: Report) -> Iterator[dict[str, Any]]:
    for table in report.data.read():
        for batch in table.to_batches(max_chunksize=_AT_ONCE):
            yield from batch.to_pylist()
