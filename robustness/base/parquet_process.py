"""The process that reads untrusted Parquet tables for ``parquet.read``."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from robustness.base.workers import Answer, serve

MAX_COLUMNS = 10_000
MAX_FOOTER = 8 * 1024**2


def answer(head: bytes, _data: bytes) -> bytes:
    """Describe or write the table; return JSON with its ``columns``, or with what is wrong.

    ``head`` is JSON: the ``path``, and for rows the ``wanted`` columns (None: all), the most
    ``rows`` and ``bytes``, and the file ``to`` write to in Arrow's IPC format.
    """
    request = json.loads(head)
    try:
        return json.dumps(_answer(request)).encode()
    except MemoryError:
        most = f"{request['bytes']:,} bytes" if "to" in request else "any list of columns"
        return json.dumps({"problem": f"would expand to more than {most}"}).encode()
    except OSError as error:
        if error.errno and "to" in request:
            return json.dumps({"unwritten": [error.errno, error.strerror]}).encode()
        return b'{"damaged": true}'
    except (pa.ArrowException, ValueError):
        return b'{"damaged": true}'


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    metadata = pq.read_metadata(request["path"])
    if metadata.serialized_size > MAX_FOOTER or metadata.num_columns > MAX_COLUMNS:
        return {"problem": f"list {metadata.num_columns:,} columns and far more about them"}
    if "to" not in request:
        arrow_schema = metadata.schema.to_arrow_schema()
        return {"columns": [(field.name, pa.types.is_nested(field.type)) for field in arrow_schema]}
    if metadata.num_rows > request["rows"]:
        return {"problem": f"would expand to {metadata.num_rows:,} rows"}
    table = pq.read_table(request["path"], columns=request["wanted"])
    table.validate(full=True)
    columns = [_plain(column) for column in table.columns]
    size = sum(column.nbytes for column in columns)
    if size > request["bytes"]:
        return {"problem": f"would expand to {size:,} bytes"}
    plain = pa.table(columns, names=table.column_names)
    with pa.OSFile(request["to"], "wb") as file, pa.ipc.new_file(file, plain.schema) as writer:
        writer.write_table(plain)
    return {}


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """``column`` without dictionaries and types of its own."""
    if pa.types.is_dictionary(column.type):
        return _plain(column.cast(column.type.value_type))
    extended = isinstance(column.type, pa.BaseExtensionType)
    return _plain(column.cast(column.type.storage_type)) if extended else column


def serve_arrow(answer: Answer) -> None:
    """Answer the parent's questions with few threads, each of which takes memory."""
    pa.set_cpu_count(2)
    pa.set_io_thread_count(2)
    serve(answer)


if __name__ == "__main__":
    serve_arrow(answer)
