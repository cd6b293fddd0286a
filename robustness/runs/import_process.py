"""The process that rewrites the files of an imported run and works out its figures."""

from __future__ import annotations

import json
import os
from pathlib import Path

from robustness import plugins
from robustness.base.errors import RobustnessError
from robustness.base.parquet_process import serve_arrow
from robustness.models.own import user_models
from robustness.runs import headline_figures
from robustness.runs import manifest as manifests
from robustness.runs.row_checks import ExpectedRows, rewrite_rows


def answer(head: bytes, _data: bytes) -> bytes:
    """Rewrite the files; return JSON with the sizes of the ``parts``, or with the ``problem``.

    ``head`` is JSON: the ``folder``, and what its files are ``expected`` to hold; without these
    it works out the figures and writes them. An error number and reason as ``unwritten`` say that
    the disk does not take them.
    """
    question = json.loads(head)
    folder = Path(question["folder"])
    try:
        if "expected" not in question:
            plugins.load()
            user_models.refresh()
            headline_figures.compute(folder, manifests.read(folder))
            return b"{}"
        expected = ExpectedRows(**question["expected"])
        return json.dumps({"parts": rewrite_rows(folder, expected)}).encode()
    except RobustnessError as error:
        return json.dumps({"problem": str(error)}).encode()
    except MemoryError:
        return json.dumps({"problem": "its files need more memory than those of any run"}).encode()
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        return json.dumps({"unwritten": [error.errno, reason]}).encode()


if __name__ == "__main__":
    serve_arrow(answer)
