"""The report as a PDF: the HTML report, printed by an installed browser in its sandbox."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from robustness.base.errors import ParameterError
from robustness.base.processes import small_environment
from robustness.report.blocks import Report
from robustness.report.formats.html_report import html_file

_COMMANDS = (
    *("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"),
    *("google-chrome-stable", "chrome", "microsoft-edge"),
)
_ON_A_MAC = tuple(  # which leaves browsers off the PATH
    f"/Applications/{name}.app/Contents/MacOS/{name}"
    for name in ("Google Chrome", "Chromium", "Microsoft Edge")
)
_SECONDS = 120
_HINT = "Write a .html report and print it from any browser."


def pdf_file(report: Report, file: IO[bytes], when: datetime) -> None:
    """Print the HTML report to ``file``.

    Raises ``ParameterError`` without a browser, or if it does not print in two minutes.
    """
    browser = next(filter(None, map(shutil.which, (*_COMMANDS, *_ON_A_MAC))), None)
    if browser is None:
        raise ParameterError("A PDF needs Chromium, Chrome or Edge; none is installed.", hint=_HINT)
    with TemporaryDirectory(prefix="report-") as name:
        folder = Path(name)
        page, printed = folder / "report.html", folder / "report.pdf"
        with page.open("wb") as source:
            html_file(report, source, when, packs_plotly=False)
        command = [
            *(browser, "--headless", "--disable-gpu", "--no-first-run", "--no-pdf-header-footer"),
            *("--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND"),
            f"--user-data-dir={folder / 'profile'}",
            f"--print-to-pdf={printed}",
            page.as_uri(),
        ]
        with suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(command, capture_output=True, timeout=_SECONDS, **_account(folder))
        if not printed.is_file():
            raise ParameterError(f"{browser} did not print the report.", hint=_HINT)
        with printed.open("rb") as result:
            shutil.copyfileobj(result, file)


def _account(folder: Path) -> Mapping[str, Any]:
    """The account that prints, and its environment, without settings and keys.

    Root gives way to ``nobody``, as browsers deny root a sandbox.
    """
    variables = small_environment()
    if os.geteuid() != 0:
        return {"env": variables}
    import pwd

    nobody = pwd.getpwnam("nobody")
    for path in (folder, folder / "report.html"):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": ()}
    return account | {"env": variables | {"HOME": str(folder), "TMPDIR": str(folder)}}
