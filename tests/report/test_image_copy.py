"""What is copied of a Live view gives the answers of that view again."""

from __future__ import annotations

import io
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from PIL import Image

from benchmarks.support.repository import ROOT
from robustness import api
from robustness.cli.main import main
from robustness.images.decoding import decode, sample_bytes
from robustness.images.framing import Picture, frame, study_image
from robustness.measure import loop
from robustness.measure.condition import Condition
from robustness.measure.measurement import Measurement
from robustness.measure.request import Request, make_spec, read_request
from robustness.measure.strength import labelled
from robustness.models import own as own_models
from robustness.report.image import COMMAND, LINK, PYTHON, TOML, WRITTEN, reproduction_texts
from robustness.report.tables import verdict
from tests.support.pages import changes, run

TWO = ["SqueezeNet", "EfficientNetLite1"]
MIX = {"gaussian_noise": 0.33, "fog": 0.6, "horizontal_flip": 1.0}
LIVE = ROOT / "app.py"
ODD_NAME = "it's a photo; no. 1.png"

VIEWS = {
    "a mix": ("coffee", make_spec(TWO, [Condition.of(MIX)], seed=7, fit="squash")),
    "clean": ("chelsea", make_spec(TWO, [Condition.of({"brightness": 0.0})])),
}
views = pytest.mark.parametrize(("sample", "spec"), VIEWS.values(), ids=VIEWS.keys())

Answer = tuple[str, int, object]


def test_a_remedy_is_in_each_text(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    condition = Condition.of({"salt_and_pepper": 0.5})
    spec = make_spec(["SqueezeNet"], [condition], remedies=["median+tta"])
    texts = reproduction_texts(spec, "coffee", sample="coffee")
    assert parse_qs(texts[LINK].partition("?")[2])["remedy"] == ["median+tta"]
    arguments = shlex.split(texts[COMMAND])[3:]
    assert main([*arguments, "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["predictions"]
    names: dict[str, Any] = {}
    exec(texts[PYTHON], names)
    rows = names["rows"]
    (of_variant,) = rows[rows["base"].notna()].to_dict("records")
    assert entry["remedies"][0]["remedy"] == "median+tta"
    assert of_variant["model"] == f"{entry['model']}+median+tta"
    assert of_variant["top1"] == entry["remedies"][0]["index"]
    (tmp_path / "request.toml").write_text(texts[TOML])
    assert read_request(tmp_path / "request.toml").remedies == spec.remedies


def answers(rows: Sequence[Measurement]) -> list[Answer]:
    return [(r.model, r.top1, pytest.approx(r.probability, abs=1e-6)) for r in rows]


def shown(spec: Request, sample: str) -> list[Answer]:
    """The predictions of the Live page for a sample."""
    (framing,) = spec.by_framing
    pixels, _ = frame(decode(sample_bytes(sample)), [framing])
    return answers(list(loop.evaluate(spec, [pixels.picture(sample, [framing])])))


def told_by_the_command(command: str, capsys: pytest.CaptureFixture[str]) -> list[Answer]:
    python, flag, package, *arguments = shlex.split(command)
    assert (python, flag, package) == ("python", "-m", "robustness")
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["predictions"]
    return [(p["model"], p["top"][0]["index"], p["top"][0]["probability"]) for p in told]


def told_by_python(code: str) -> list[Answer]:
    names: dict[str, Any] = {}
    exec(code, names)
    rows = names["rows"]
    return list(zip(rows["model"], rows["top1"], rows["probability"], strict=True))


@views
def test_the_command_and_the_code_give_what_is_shown(
    sample: str, spec: Request, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = reproduction_texts(spec, sample, sample=sample)
    assert list(texts) == [LINK, COMMAND, PYTHON, TOML]
    expected = shown(spec, sample)
    assert told_by_the_command(texts[COMMAND], capsys) == expected
    assert told_by_python(texts[PYTHON]) == expected


@views
def test_the_file_asks_the_same(sample: str, spec: Request, tmp_path: Path) -> None:
    file = tmp_path / "request.toml"
    file.write_text(reproduction_texts(spec, sample, sample=sample)[TOML])
    assert read_request(file) == spec == api.read_request(str(file))


@views
def test_the_link_opens_the_same_view(
    sample: str, spec: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = changes(monkeypatch)
    link = reproduction_texts(spec, sample, sample=sample)[LINK]
    assert link.startswith(f"?sample={sample}")
    values = parse_qs(link[1:], strict_parsing=True)
    app = run(LIVE, **{key: v[0] if len(v) == 1 else v for key, v in values.items()})
    assert not app.warning
    digest, condition, seed = seen[-1]
    assert (
        digest
        == Picture.of(
            "", study_image(sample_bytes(sample), spec.framing_of(spec.model_names[0]))
        ).digest
    )
    assert (condition.idle and spec.conditions[0].idle) or condition == spec.conditions[0]
    assert seed == spec.seed
    assert tuple(app.multiselect(key="models").value) == spec.model_names


def test_the_true_class_is_copied(capsys: pytest.CaptureFixture[str]) -> None:
    sample, truth = "rocket", "missile"
    spec = make_spec(TWO, [Condition.of({"gaussian_blur": 0.6})])
    image = Picture.of(sample, study_image(sample_bytes(sample)))
    expected = [labelled(row, truth) for row in loop.evaluate(spec, [image])]
    correct = [row.top1 == row.label for row in expected]
    texts = reproduction_texts(spec, sample, sample=sample, truth=truth)
    _, _, _, *arguments = shlex.split(texts[COMMAND])
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["predictions"]
    assert [entry["correct"] for entry in told] == correct
    assert [entry["consistent"] for entry in told] == [row.consistent for row in expected]
    assert main(arguments) == 0
    printed = [line for line in capsys.readouterr().out.splitlines() if "sample:" in line]
    for line, row in zip(printed, expected, strict=True):
        assert row.model in line
        assert verdict(row).said in line
    names: dict[str, Any] = {}
    exec(texts[PYTHON], names)
    assert names["rows"]["correct"].tolist() == correct
    values = parse_qs(texts[LINK][1:], strict_parsing=True)
    app = run(LIVE, **{key: v[0] if len(v) == 1 else v for key, v in values.items()})
    assert app.selectbox(key="shows").value == truth


def test_an_upload_is_named_and_has_no_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, spec = VIEWS["a mix"]
    monkeypatch.chdir(tmp_path)
    for name in (ODD_NAME, "sample:coffee"):
        Path(name).write_bytes(sample_bytes("rocket"))
        texts = reproduction_texts(spec, name, sample=None)
        assert list(texts) == [COMMAND, PYTHON, TOML]
        expected = shown(spec, "rocket")
        assert told_by_the_command(texts[COMMAND], capsys) == expected
        assert told_by_python(texts[PYTHON]) == expected
    assert shlex.quote(ODD_NAME) in reproduction_texts(spec, ODD_NAME, sample=None)[COMMAND]


def test_an_attack_is_copied_without_a_link(capsys: pytest.CaptureFixture[str]) -> None:
    attack = Condition.attack("square", epsilon=0.05, steps=2)  # without gradients
    spec = make_spec(["SqueezeNet"], [attack])
    texts = reproduction_texts(spec, "coffee", sample="coffee")
    assert list(texts) == [COMMAND, PYTHON, TOML]
    expected = shown(spec, "coffee")
    assert told_by_the_command(texts[COMMAND], capsys) == expected
    assert told_by_python(texts[PYTHON]) == expected


def test_the_written_image_is_predicted_as_the_cell_says(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    models_folder: Path,
) -> None:
    """Of a wide photo, also by a model that sees it otherwise than the bundled ones."""
    monkeypatch.chdir(tmp_path)
    own = '[wide]\nof = "SqueezeNet"\nside = 160\nfit = "letterbox"\n'
    (models_folder / "models.toml").write_text(own)
    own_models.refresh()
    image = Image.open(io.BytesIO(sample_bytes("rocket"))).convert("RGB").resize((900, 310))
    image.save("wide.png")
    spec = make_spec(["SqueezeNet", "wide"], [Condition.of({"gaussian_noise": 0.7})], seed=5)
    framings = list(spec.by_framing)
    assert len(framings) == 2
    pixels, _ = frame(decode(Path("wide.png").read_bytes()), framings)
    expected = answers(list(loop.evaluate(spec, [pixels.picture("wide.png", framings)])))
    found: list[Answer] = []
    for command in reproduction_texts(spec, "wide.png", sample=None)[WRITTEN].splitlines():
        if " perturb " in command:
            assert main(shlex.split(command)[3:]) == 0
            printed = capsys.readouterr().err.strip()
        else:
            assert printed.endswith(command), "the command says it, too"
            found += told_by_the_command(command, capsys)
    assert found == expected


# --- the file -------------------------------------------------------------------------------------


def test_a_file_of_several_conditions_reads_back(tmp_path: Path) -> None:
    conditions = [
        Condition.of(MIX),
        Condition.of({"brightness": 0.0}),
        Condition.attack("pgd", epsilon=0.03, norm="l2", target=7),
    ]
    spec = make_spec(TWO, conditions, seed=2**32 - 1, fit="letterbox")
    file = tmp_path / "request.toml"
    file.write_text(spec.as_toml())
    assert read_request(file) == spec


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected one or more tables [[condition]], got none"),
        ("models = 'SqueezeNet'", "expected models to be a list of names, got 'SqueezeNet'."),
        ("models = []", "expected models to be a list of names, got []."),
        ("seed = 1.5", "expected seed to be a whole number, got 1.5."),
        (
            "[[condition]]\nfog = 'much'",
            "condition 1: expected fog to be a strength from 0 to 1, got 'much'.",
        ),
        ("[[condition]]\nfog = true", "fog: expected a strength from 0 to 1, got true."),
        ("[[condition]]\nattack = 'pgd'", "'epsilon' is missing"),
        (
            "[[condition]]\n[[condition]]\nfog = 1",
            "condition 1: expected perturbations with strengths",
        ),
        ("[[condition]]\nfog = 2", "between 0 (no change) and 1 (strongest), got 2."),
        ("[[condition]]\nfrog = 1", "Did you mean 'fog'?"),
        ("fit = 3\n[[condition]]\nfog = 1", "expected fit to be a text, got 3."),
    ],
)
def test_a_file_that_asks_for_nothing_is_refused(
    text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "request.toml"
    file.write_text(text)
    assert main(["evaluate", "samples", "--request", str(file)]) == 2
    assert words in capsys.readouterr().err


def test_a_file_and_an_option_are_not_both_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "request.toml"
    file.write_text("models = ['SqueezeNet']\n[[condition]]\nfog = 0.2\n")
    assert main(["evaluate", "samples", "--request", str(file), "--seed=3"]) == 2
    assert "or --seed, got both" in capsys.readouterr().err


# --- the command ----------------------------------------------------------------------------------
