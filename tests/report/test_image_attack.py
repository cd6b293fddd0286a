"""The report of an attack, and of a run whose conditions are attacks."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.support.synthetic_runs import ESPRESSO, TABBY, measurement, pictures, saved
from robustness import report, runs
from robustness.attacks import AttackSpec, Control, Outcome
from robustness.attacks.image import Transfer
from robustness.cli import main
from robustness.cli.images import _spec
from robustness.images.decoding import sample_bytes
from robustness.images.framing import Framing, Picture, study_image
from robustness.measure.condition import AttackCondition, Condition
from robustness.measure.measurement import Measurement
from robustness.measure.request import Request
from robustness.report.image import answers
from tests.support.reports import HOSTILE, WHEN, Page

ATTACK = AttackSpec.of("pgd", epsilon=2 / 255, steps=7, restarts=2, seed=3)
NAMES = ("SqueezeNet", "EfficientNetLite0", "EfficientNetLite2")


def picture() -> Picture:
    return Picture.of(HOSTILE, study_image(sample_bytes("chelsea")))


def outcome(
    *, success: bool = True, noise: int = 0, moved: bool = True, target: int | None = None
) -> Outcome:
    clean = picture().image
    change = np.float32(2 / 255 if moved else 0)
    image = np.clip(clean + change, 0, 1)
    size = float(np.abs(image - clean).max())
    control = Control(noise > 0, noise, 16, size, size * 300, 0.99, ESPRESSO, 0.7)
    return Outcome(
        spec=replace(ATTACK, target=target),
        model="SqueezeNet",
        image=image,
        success=success,
        linf=size,
        l2=size * 300,
        ssim=0.98,
        clean_top1=ESPRESSO,
        clean_probability=0.8,
        top1=TABBY if success else ESPRESSO,
        probability=0.6,
        by=ATTACK.name,
        control=control,
    )


def rows(*stays: bool) -> list[Measurement]:
    shown = picture()
    return [
        measurement(HOSTILE, shown.digest, name, AttackCondition.of_spec(ATTACK), kept)
        for name, kept in zip(NAMES, stays, strict=False)
    ]


def built(found: Outcome | None = None) -> report.Report:
    spec = Request(
        tuple((name, "sha256:0") for name in NAMES),
        (AttackCondition.of_spec(ATTACK),),
        tuple((name, Framing()) for name in NAMES),
        seed=3,
    )
    transfer = [
        Transfer(source, name, source == name, ESPRESSO, 0.8, TABBY, 0.6, 0.2)
        for source in NAMES
        for name in NAMES
    ]
    return report.of_attack(spec, picture(), found or outcome(), rows(False, True, False), transfer)


def test_it_can_be_handed_on_in_every_format() -> None:
    content = built()
    made = {
        suffix: report.rendered(content, format.write, WHEN)
        for suffix, format in report.FORMATS.items()
        if not format.needs_browser
    }
    page = Page(made[".html"].decode())
    shown = list(page.all("img"))
    assert len(shown) == 3, "clean, adversarial, difference"
    assert [item["class"] for item in page.all("li") if "class" in item] == ["case wide"]
    assert not [image for image in shown if "onerror" in image]
    document = json.loads(made[".json"])
    assert [row["perturbation"] for row in document["rows"]] == ["pgd"] * 3
    assert document["attack"][0]["noise_control"]["draws"] == 16
    assert len(document["transfer"]) == 9
    assert document["manifest"]["attack"] == {
        **{"name": "pgd", "norm": "linf", "epsilon": 2 / 255, "steps": 7, "restarts": 2},
        **{"seed": 3, "target": None, "model": "SqueezeNet"},
    }
    assert "PGD (L∞, epsilon 2/255)" in made[".md"].decode()


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (outcome(), ("fools SqueezeNet 1.1", "tabby", "16 equally large", "none fools")),
        (outcome(noise=5), ("fools", "16 equally large", ": 5 fool", "no better than noise")),
        (outcome(success=False), ("fails", "none fools")),
        (outcome(success=False, noise=2), ("fails", ": 2 fool")),
        (outcome(success=False, moved=False), ("fails", "left the image unchanged")),
        (outcome(success=False, target=0), ("towards tench fails", "none fools")),
    ],
)
def test_the_answer_claims_no_more_than_the_attack_shows(
    found: Outcome, words: tuple[str, str]
) -> None:
    said = [sentence for _, sentence in answers(found, rows(not found.success, True, False))]
    assert len(said) == 3
    assert all(not sentence[0].islower() and sentence.endswith(".") for sentence in said)
    text = " ".join(said)
    assert all(word in text for word in words)
    assert "1 of 2 unchanged" in text
    assert ("no better than noise" in text) == bool(found.success and found.control.successes)


def test_what_it_says_makes_the_picture_again_can_be_typed() -> None:
    odd = replace(outcome(target=1), spec=replace(ATTACK, epsilon=0.0123456789, target=1))
    for found, epsilon in ((outcome(), 2 / 255), (odd, 0.0123456789)):
        (line,) = re.findall("`(.*?)`", built(found).replay)
        words = shlex.split(line)[3:]
        options = main._parser().parse_args(words)
        assert _spec(options, "SqueezeNet") == replace(found.spec, epsilon=epsilon)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    folder = tmp_path_factory.mktemp("attacked")
    return saved(
        folder / "runs" / "attacked",
        pictures(folder / "set", [f"{number}.png" for number in range(6)]),
        {"SqueezeNet": 0.4},
        conditions=[
            Condition.of({"fog": 0.4}),
            AttackCondition.of_spec(ATTACK),
            Condition.attack("pgd", epsilon=8 / 255, steps=7),
        ],
        source=folder / "set",
    )
