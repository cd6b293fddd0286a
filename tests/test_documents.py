"""What the documents say is so: their links, commands, code, settings, tables and numbers."""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import robustness
from robustness import api, attacks, gate, metrics, models, report
from robustness.base import settings
from robustness.images import decoding
from robustness.measure import STEPS
from robustness.measure.domain import read_domain
from robustness.measure.request import read_request
from robustness.metrics import record
from robustness.models import own
from robustness.models.formats import ENDINGS
from robustness.models.record import ADDED
from robustness.statistics.means import ALPHA
from tests.support.documents import (
    DOCUMENTS,
    ROOT,
    blocks,
    commands_of,
    first_column,
    headings,
    parser,
    prose,
)
from tests.support.user_models import DIGITS, small_network
from tests.test_conventions import ROOMS

# --- links and paths ------------------------------------------------------------------------------


def test_links_lead_somewhere() -> None:
    lost = []
    for name, text in DOCUMENTS.items():
        for target in re.findall(r"\]\(([^)\s]+)\)", prose(text)):
            if target.startswith("https://"):
                continue
            file, _, anchor = target.partition("#")
            path = (ROOT / name).parent / file if file else ROOT / name
            found = path.is_file()
            if found and anchor:
                found = anchor in headings(path.read_text(encoding="utf-8"))
            if not found:
                lost.append(f"{name}: {target}")
    assert not lost


def test_the_files_of_this_repository_that_they_name_exist() -> None:
    named = re.compile(
        r"(?<![\w/.])((?:robustness|tests|benchmarks|pages|docs)/[\w/.]*\w/?"
        r"|requirements[\w-]*\.(?:in|txt)|\.ci/run|\.streamlit/config\.toml|app\.py)"
    )
    lost = [
        f"{name}: {path}"
        for name, text in DOCUMENTS.items()
        if name != "CHANGELOG.md"  # tells of what is gone, too
        for path in named.findall(re.sub(r"\]\([^)]*\)|https?://\S+", "", text))
        if not (ROOT / path).exists()
    ]
    assert not lost


# --- commands -------------------------------------------------------------------------------------


def test_each_step_of_the_roads_is_a_function_that_is_there() -> None:
    names, text = re.findall(r"`([^`]+)`", DOCUMENTS["docs/roads.md"].partition("\n## ")[2]), ""
    for name in names[1:]:
        if name.endswith(".py"):
            text = (ROOT / name).read_text(encoding="utf-8")
        else:
            assert re.search(rf"\b{name.split('.')[-1]}\b", text), name


def test_commands_are_understood() -> None:
    lines = "\n".join(blocks("bash") + blocks("yaml"))
    commands = re.findall(r"(?:-m |^)robustness (.*)", lines, re.MULTILINE)
    assert len(commands) >= 12
    for command in commands:
        parser().parse_args(shlex.split(command))
    subprocess.run(["bash", "-n"], input="\n".join(blocks("bash")), text=True, check=True)


def test_the_table_of_commands_has_all_of_them() -> None:
    told = " ".join(first_column(DOCUMENTS["docs/command-line.md"]))
    named = set(re.findall(r"`(\w+)", told))
    offered = commands_of(parser())
    assert named == offered.keys()
    for name, command in offered.items():
        for action in commands_of(command):
            assert f"`{name} {action} " in told


def options_of(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The long options of ``parser`` and of its commands."""
    for action in parser._actions:
        yield from (option for option in action.option_strings if option.startswith("--"))
    for command in commands_of(parser).values():
        yield from options_of(command)


def test_every_option_is_named() -> None:
    texts = "".join(text for name, text in DOCUMENTS.items() if name.startswith("docs/"))
    named = set(re.findall(r"--[a-z][a-z-]+", texts))
    assert set(options_of(parser())) - named == set()


def test_the_compiled_requirements_were_compiled_as_contributing_says() -> None:
    said = re.findall(r"uv pip compile .*", "\n".join(blocks("bash", DOCUMENTS["CONTRIBUTING.md"])))
    compiled = sorted(ROOT.glob("requirements*.txt"))
    headers = [path.read_text(encoding="utf-8").splitlines()[1] for path in compiled]
    wanted = sorted(line.strip("# ") for line in headers if "uv pip compile" in line)
    assert sorted(said) == wanted


# --- code -----------------------------------------------------------------------------------------


def test_the_example_of_a_metric_works_as_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = blocks("python", DOCUMENTS["CONTRIBUTING.md"])
    monkeypatch.setattr(metrics.REGISTRY, "_records", dict(metrics.REGISTRY._records))
    exec(code, {**vars(record), "np": np})
    clean = np.zeros((1, 4, 4, 3), np.float32)
    changed = np.stack([clean[0], clean[0] + 0.25])
    changed[1, 0, 0, 0] = 0.5
    scores = metrics.REGISTRY["largest_change"].function(clean, changed)
    np.testing.assert_array_equal(scores, [0, 0.5])


# --- settings and other files ---------------------------------------------------------------------


def test_every_setting_is_explained_and_no_other() -> None:
    text = DOCUMENTS["docs/configuration.md"]
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| \S", text, re.MULTILINE)
    assert sorted(rows) == sorted((setting.variable, setting.name) for setting in settings.REGISTRY)
    assert f"| `{settings.CONFIG_VARIABLE}` | |" in text


def test_every_block_of_toml_is_read_by_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for setting in settings.REGISTRY:
        monkeypatch.delenv(setting.variable, raising=False)
    others = []
    for block in blocks("toml"):
        values = tomllib.loads(block)
        if values.keys() <= set(settings.REGISTRY.names):
            (tmp_path / settings.CONFIG_FILE).write_text(block, encoding="utf-8")
            settings.check_usable()
            for name in values:
                assert settings.value(settings.REGISTRY[name]) is not None
        elif "ranges" in values:
            assert read_domain(Path("domain.toml"), block.encode()).conditions
        else:
            others.append([*values])
    asked = ["models", "seed", "fit", "condition"]
    own = ["digits"], ["pets"], ["lite0-calibrated"], ["service"]
    assert others == [asked, ["baseline", "limit"], *own, ["project"]], (
        "read by the tests below, and by those of plugins"
    )


def test_the_description_of_ones_own_model_works_as_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, zero_shot, calibrated, function = blocks("toml", DOCUMENTS["docs/own-models.md"])
    small_network(side=32).save(tmp_path / "digits.keras")
    (tmp_path / "digits.txt").write_text("\n".join(DIGITS), encoding="utf-8")
    (tmp_path / "classes.txt").write_text("dark\nbright", encoding="utf-8")
    (tmp_path / "models.toml").write_text(
        f"{text}\n{zero_shot}\n{calibrated}\n{function}", encoding="utf-8"
    )
    monkeypatch.setenv("ROBUSTNESS_MODELS", str(tmp_path / "models.toml"))
    own.refresh()
    assert models.REGISTRY["lite0-calibrated"].temperature == 1.7
    assert models.REGISTRY["pets"].labels().names == ("cat", "dog", "parrot")
    try:
        assert len(text.strip().splitlines()) <= 10
        assert models.REGISTRY["digits"].label == "My digits network"
        assert models.load("digits").record.input_size == 32
        assert "my_service.py" in models.state(models.REGISTRY["service"]).reason
    finally:
        ADDED.clear()
        monkeypatch.delenv("ROBUSTNESS_MODELS")
        own.refresh()


def test_the_function_that_repeats_a_failed_call_works_as_printed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code = blocks("python", DOCUMENTS["docs/own-models.md"])[-1]
    failures = [ConnectionError("busy"), ConnectionError("busy")]

    def predict(pixels: Any) -> Any:
        if failures:
            raise failures.pop()
        return [[0.25, 0.75]] * len(pixels)

    waits: list[float] = []
    monkeypatch.setitem(sys.modules, "my_client", SimpleNamespace(predict=predict))
    names: dict[str, Any] = {}
    exec(code, names)
    names["time"] = SimpleNamespace(sleep=waits.append)
    described: dict[str, Any] = {"labels": ["dark", "bright"], "normalisation": "0..1"}
    record = api.add_model("service", names["classify"], input_size=8, **described)
    try:
        assert models.load(record.name)(np.zeros((1, 224, 224, 3), np.float32)).probabilities[0, 1]
        assert waits == [0.5, 1]
    finally:
        ADDED.clear()
        own.refresh()


def test_the_request_in_a_file_can_be_read(tmp_path: Path) -> None:
    (text,) = blocks("toml", DOCUMENTS["docs/command-line.md"])
    file = tmp_path / "request.toml"
    file.write_text(text, encoding="utf-8")
    spec = read_request(file)
    assert spec.model_names == ("SqueezeNet", "EfficientNetLite0")
    assert (spec.seed, spec.framing_text) == (7, "squash at 224 px")
    names = [condition.id for condition in spec.pooled_conditions]
    assert names == ["fog=0.6+gaussian_blur=0.4", "night door"]


def test_the_budget_can_be_read_and_names_every_limit_beside_it(tmp_path: Path) -> None:
    document = DOCUMENTS["docs/gate.md"]
    (text,) = blocks("toml", document)
    (tmp_path / "budget.toml").write_text(text, encoding="utf-8")
    budget = gate.read_budget(tmp_path / "budget.toml")
    assert [rule.on_variants for rule in budget.rules] == [False, False, False, True]
    assert budget.baseline == "baseline"
    assert all(name in document for name in gate.LIMITS)


# --- what they tell -------------------------------------------------------------------------------


def test_every_format_of_a_report_is_named_where_people_read_of_them() -> None:
    formats = [f"`{suffix}`" for suffix in report.FORMATS]
    assert first_column(DOCUMENTS["docs/reports.md"]) == formats
    texts = {
        "docs/python.md": DOCUMENTS["docs/python.md"],
        "report --help": commands_of(parser())["report"].format_help(),
        "EvaluatedRun.report": api.EvaluatedRun.report.__doc__ or "",
    }
    lacking = {
        place: suffix
        for place, text in texts.items()
        for suffix in report.FORMATS
        if not re.search(rf"{re.escape(suffix)}\b", text)
    }
    assert not lacking
    for name in ("README.md", "docs/command-line.md"):
        lines = [line for line in DOCUMENTS[name].splitlines() if "HTML, PDF" in line]
        assert lines
        for line in lines:
            assert all(format.label in line for format in report.FORMATS.values()), line


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_ending_of_a_model_file_is_named_where_people_describe_one(ending: str) -> None:
    for text in (DOCUMENTS["docs/own-models.md"], own.__doc__ or ""):
        assert re.search(rf"{re.escape(ending)}\b", text)


def test_every_attack_and_norm_is_told() -> None:
    text = DOCUMENTS["docs/attacks.md"]
    assert [name for name in attacks.REGISTRY.names if f"`{name}`" not in text] == []
    assert {record.name for record in attacks.NORMS} == {"linf", "l2"}
    assert "--norm l2" in text


def test_the_server_listens_and_takes_what_deployment_says() -> None:
    text = DOCUMENTS["docs/deployment.md"]
    server = tomllib.loads((ROOT / ".streamlit/config.toml").read_text(encoding="utf-8"))["server"]
    assert f"| address `{server['address']}`, port 8501 |" in text
    assert "port" not in server
    assert server["enableCORS"]
    assert server["enableXsrfProtection"]
    size = server["maxUploadSize"]
    assert size << 20 == decoding.MAX_FILE_BYTES
    proxy = (ROOT / "deploy/nginx.conf").read_text(encoding="utf-8")
    (body,) = re.findall(r"client_max_body_size (\d+)m;", proxy)
    assert f"{body} MB per request" in " ".join(text.split())
    assert size < int(body) < 1.1 * size, "what the dashboard takes, and a little for the form"
    limits = f"limited to {size} MB per file and {decoding.MAX_PIXELS // 10**6} million pixels"
    assert limits in " ".join(text.split())
    assert f"| {limits.removeprefix('limited to ').replace(' and', ',')} per image" in text
    jpeg = f"a JPEG may have {decoding.MAX_JPEG_PIXELS // 10**6} million"
    assert " ".join(text.split()).lower().count(jpeg.lower()) == 2


def test_the_picture_of_the_house_shows_the_rooms_in_their_order() -> None:
    (picture,) = blocks("text", DOCUMENTS["CONTRIBUTING.md"])
    house = picture[: picture.index("tests/")]
    first, *rooms = re.findall(r"^ *([\w./]+)(?:, pages/)?(?:  |$)", house, re.MULTILINE)
    assert first == "app.py"
    assert tuple(room.rstrip("/") for room in rooms) == ("robustness", *ROOMS[1:])


def test_one_version_everywhere() -> None:
    changes = re.findall(r"^## (\S+) - (\d{4}-\d\d-\d\d)$", DOCUMENTS["CHANGELOG.md"], re.MULTILINE)
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    version, date = changes[0]
    assert version == robustness.__version__
    assert f"\nversion: {version}\n" in citation
    assert f'\ndate-released: "{date}"\n' in citation


CONSTANTS = {
    r"\bp(?:-value)?(?: is)? (?:below|<) (0\.\d+)": ALPHA,
    r"\bgrid of (0\.\d+)": 1 / (STEPS - 1),
    r"\b(?:in|has|all) (\d+)(?: cells| would)": STEPS,
}
"""How documents say a constant, and what it is."""


@pytest.mark.parametrize(("said", "value"), CONSTANTS.items(), ids=["level", "grid", "cells"])
def test_constants_that_documents_repeat_are_those_of_the_code(said: str, value: float) -> None:
    texts = {name: text for name, text in DOCUMENTS.items() if name != "CHANGELOG.md"}
    for path in (ROOT / "robustness").rglob("*.md"):
        texts[path.relative_to(ROOT).as_posix()] = path.read_text(encoding="utf-8")
    found = [(name, figure) for name, text in texts.items() for figure in re.findall(said, text)]
    assert found, "nothing says it so any more: change the pattern"
    wrong = [f"{name} says {figure}" for name, figure in found if float(figure) != value]
    assert not wrong, f"expected {value:g}"
