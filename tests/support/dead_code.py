"""Print code of the product that nothing of it reaches; the exit status says whether there is some.

    .venv/bin/python -m tests.support.dead_code

vulture reads Python only, and no keys. What the templates name and which options are read by their
names is handed to it as a module that uses them. Names that it cannot see in use otherwise are
listed in ``pyproject.toml``.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from jinja2 import Environment, nodes

from benchmarks.support.repository import ROOT

PRODUCT = ("robustness", "app.py", "pages")


def template_names() -> set[str]:
    """Every name and attribute that a template reads."""
    environment = Environment(extensions=["jinja2.ext.do"])
    names: set[str] = set()
    for path in (ROOT / "robustness").rglob("*.j2"):
        template = environment.parse(path.read_text(encoding="utf-8"))
        names.update(node.attr for node in template.find_all(nodes.Getattr))
        names.update(node.name for node in template.find_all(nodes.Name))
    return names


def option_names() -> set[str]:
    """Every key by which ``options`` are read, as in ``options["seed"]``."""
    read = r'\boptions(?:\[|\.get\()"(\w+)"'
    names: set[str] = set()
    for path in (ROOT / "robustness").rglob("*.py"):
        names.update(re.findall(read, path.read_text(encoding="utf-8")))
    return names


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        used = Path(folder) / "used.py"
        used.write_text("\n".join(sorted(template_names() | option_names())), encoding="utf-8")
        command = [sys.executable, "-m", "vulture", *PRODUCT, str(used)]
        return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
