"""What the README promises is so."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustness import models
from robustness.base import settings
from robustness.commands import main
from robustness.models import user_models
from robustness.perturbations import REGISTRY, apply, perturbation
from robustness.runs import gate
from tests.support.user_models import DIGITS, small_network

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_first_screen_has_exactly_the_two_commands_each_one_line() -> None:
    run, test = blocks("bash")[:2]
    assert "-r requirements.txt" in run
    assert run.strip().endswith("streamlit run app.py")
    assert "-r requirements-dev.txt" in test
    assert test.strip().endswith("pytest")
    assert all(len(command.strip().splitlines()) == 1 for command in (run, test))


def test_named_files_exist() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README):
        if target.startswith("#"):
            headings = re.findall(r"^## (.*)$", README, re.MULTILINE)
            assert target[1:] in {title.lower().replace(" ", "-") for title in headings}
        else:
            assert (ROOT / target).is_file(), target


def test_its_commands_parse() -> None:
    commands = re.findall(r"-m robustness (.*)", "\n".join(blocks("bash") + blocks("yaml")))
    assert commands
    for command in commands:
        main._parser().parse_args(shlex.split(command))


def test_every_command_of_the_table_exists() -> None:
    for command in re.findall(r"^\| `(\w+)", README, re.MULTILINE):
        if command.isupper():
            continue  # a variable of the configuration table
        assert main._parser().parse_args([command, *arguments(command)])


def arguments(command: str) -> list[str]:
    needed = {
        "predict": ["a.png"],
        "study": ["a.png"],
        "sweep": ["a.png"],
        "evaluate": ["photos"],
        "attack": ["a.png", "--model", "SqueezeNet"],
        "replay": ["a"],
        "check": ["a", "--budget", "b.toml"],
        "report": ["photos", "--to", "a.html"],
        "perturb": ["a.png", "--perturbation", "fog", "--strength", "1", "--to", "b.png"],
    }
    return needed.get(command, [])


def test_the_description_of_ones_own_model_works_as_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (text,) = (block for block in blocks("toml") if "[digits]" in block)
    small_network(side=32).save(tmp_path / "digits.keras")
    (tmp_path / "digits.txt").write_text("\n".join(DIGITS), encoding="utf-8")
    (tmp_path / "models.toml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("ROBUSTNESS_MODELS", str(tmp_path / "models.toml"))
    user_models.refresh()
    try:
        assert len(text.strip().splitlines()) <= 10
        assert models.REGISTRY["digits"].label == "My digits network"
        assert models.load("digits").record.input_size == 32
    finally:
        monkeypatch.delenv("ROBUSTNESS_MODELS")
        user_models.refresh()


def test_every_setting_is_explained() -> None:
    for setting in settings.REGISTRY:
        assert f"| `{setting.variable}` | `{setting.name}` |" in README


def test_the_ten_line_perturbation_works_as_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = (block for block in blocks("python") if "REGISTRY.add" in block)
    monkeypatch.setattr(REGISTRY, "_records", dict(REGISTRY._records))
    exec(code, {**vars(perturbation), "np": np})
    images = np.full((2, 4, 4, 3), 0.5, np.float32)
    dimmed = apply(REGISTRY["dimming"], images, 0.5)
    np.testing.assert_allclose(dimmed, 0.3, rtol=1e-6)
    assert dimmed.dtype == np.float32


def test_the_example_from_python_works_as_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = (block for block in blocks("python") if "import api" in block)
    assert len(code.strip().splitlines()) <= 10
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code, names)
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("SqueezeNet", "EfficientNetLite0", "strength"))
    run = names["run"]
    assert (run.images, len(names["frame"])) == (5, 5 * 2 * 2)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [run.id]
    assert run.id in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_budget_can_be_read_and_names_every_limit_beside_it(tmp_path: Path) -> None:
    (text,) = (block for block in blocks("toml") if "[[limit]]" in block)
    (tmp_path / "budget.toml").write_text(text, encoding="utf-8")
    budget = gate.read_budget(tmp_path / "budget.toml")
    assert len(budget.rules) == 3
    assert budget.baseline == "baseline"
    assert all(f"`{name}`" in README or name in text for name in gate.LIMITS)
