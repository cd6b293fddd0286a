"""What pyproject.toml cannot say: the wheel holds the dashboard, its text has no local links."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent

DASHBOARD = ("app.py", "pages/*.py", ".streamlit/config.toml")
"""Files that ``robustness dashboard`` starts. They stay at the top, where ``streamlit run`` and
hosts of Streamlit apps look for them, and come into the package when it is built."""


class BuildWithDashboard(build_py):
    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return  # the command finds them in the working tree
        target = Path(self.build_lib) / "robustness" / "dashboard"
        for pattern in DASHBOARD:
            for file in sorted(ROOT.glob(pattern)):
                copy = target / file.relative_to(ROOT)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, copy)


def description() -> str:
    """The README for an index of packages, where links into the repository lead nowhere."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"!\[[^\]]*\]\((?!https?:)[^)]*\)\n*", "", text)
    return re.sub(r"\[([^\]]*)\]\((?!https?:|#)[^)]*\)", r"\1", text)


setup(
    cmdclass={"build_py": BuildWithDashboard},
    long_description=description(),
    long_description_content_type="text/markdown",
)
