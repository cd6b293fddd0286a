"""The report as a PDF: the HTML report, printed by an installed browser in its sandbox."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
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
    *("google-chrome-stable", "chrome", "microsoft-edge", "msedge"),
)
_PROGRAMS = {  # where the two systems that leave browsers off the PATH install them
    "darwin": [
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        "/Applications/Chromium.app/Contents/MacOS/Chromium",
        "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    ],
    "win32": [
        rf"C:\{folder}\{program}"
        for folder in ("Program Files", "Program Files (x86)")
        for program in (
            r"Google\Chrome\Application\chrome.exe",
            r"Microsoft\Edge\Application\msedge.exe",
        )
    ],
}
_SECONDS = 120
_HINT = "Write a .html report and print it from any browser."


def pdf_file(report: Report, file: IO[bytes], when: datetime) -> None:
    """Print the HTML report to ``file``.

    Raises ``ParameterError`` without a browser, or if it does not print in two minutes.
    """
    commands = (*_COMMANDS, *_PROGRAMS.get(sys.platform, ()))
    browser = next(filter(None, map(shutil.which, commands)), None)
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
    if sys.platform == "win32" or os.geteuid() != 0:
        return {"env": variables}
    import pwd

    nobody = pwd.getpwnam("nobody")
    for path in (folder, folder / "report.html"):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": ()}
    return account | {"env": variables | {"HOME": str(folder), "TMPDIR": str(folder)}}
