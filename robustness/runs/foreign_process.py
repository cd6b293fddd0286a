"""The process that checks the files of a foreign run and works out its figures."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa

from robustness import plugins
from robustness.base.errors import RobustnessError
from robustness.base.parquet_process import serve_arrow
from robustness.models.own import registration_and_schema
from robustness.runs import headline_figures
from robustness.runs import manifest as manifests
from robustness.runs.row_specification_and_check import ExpectedRows, check_rows
from robustness.runs.run_folders_and_opening import unchecked


def answer(head: bytes, _data: bytes) -> bytes:
    """Check the files; return JSON with the ``problem``, "" for none.

    ``head`` is JSON: the ``folder``, the names of its ``parts``, and what these are ``expected`` to
    hold. Without the latter the figures are worked out and stored, by the ``settings``, which are
    environment variables.
    """
    question = json.loads(head)
    folder = Path(question["folder"])
    problem = ""
    try:
        if "expected" in question:
            check_rows(folder, question["parts"], ExpectedRows(**question["expected"]))
        else:
            os.environ.update(question["settings"])
            plugins.load()
            registration_and_schema.refresh()
            headline_figures.compute_of(folder, manifests.read(folder), unchecked)
    except MemoryError:
        problem = "its files need more memory than those of any run"
    except RobustnessError as error:
        problem = str(error).removesuffix(".")
    except (pa.ArrowException, ValueError, TypeError, KeyError):  # what odd rows raise
        problem = "its figures cannot be worked out from its files"
    except OSError as error:
        problem = f"its files cannot be read: {error.strerror or error}"
    return json.dumps({"problem": problem}).encode()


if __name__ == "__main__":
    serve_arrow(answer)
