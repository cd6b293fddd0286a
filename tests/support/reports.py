"""Reports of made-up results, and readers of what became of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser

from benchmarks.support.synthetic_runs import measurement
from robustness import report
from robustness.images.decoding import sample_bytes
from robustness.images.framing import Framing, Picture, study_image
from robustness.measure.condition import Condition
from robustness.measure.measurement import Measurement
from robustness.measure.request import Request, study_conditions
from robustness.measure.strength import Break

WHEN = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
HOSTILE = 'a</script><script>alert(1)</script><img src=x onerror="alert(2)">|`*_[x](y)$z$.png'
SHARES = {"SqueezeNet": 0.3, "EfficientNetLite0": 0.6, "EfficientNetLite2": 0.85}


def broken(model: str, strength: float | None, low: float | None, high: float | None) -> Break:
    return Break(
        model=model,
        perturbation="gaussian_noise",
        strength=strength,
        parameter=None,
        severity=None,
        ssim=None if strength is None else 0.5,
        low=low,
        high=high,
        never=strength is None,
        returns=(),
        grid=0.05,
        clean_top1=0,
        clean_probability=0.9,
    )


class Page(HTMLParser):
    """A page as a browser reads it, as far as tests need."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self._inside: str = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        else:
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def small(condition: Condition, *, several: bool = False) -> tuple[Request, list[Picture]]:
    """A spec of three models under ``condition``, or the study's, and two images to show."""
    conditions = study_conditions() if several else (condition,)
    framings = tuple((name, Framing()) for name in SHARES)
    spec = Request(tuple((name, "sha256:0") for name in SHARES), conditions, framings)
    image = study_image(sample_bytes("chelsea"))
    return spec, [Picture.of(HOSTILE, image), Picture.of("b.png", image[:, ::-1].copy())]


def study() -> report.Report:
    spec, shown = small(study_conditions()[0], several=True)
    rows = [
        measurement(picture.name, picture.digest, name, condition, bool(number % 3))
        for picture in shown
        for name in spec.model_names
        for number, condition in enumerate(spec.conditions)
    ]
    return report.of_map(spec, shown, rows)


def live() -> report.Report:
    spec, shown = small(Condition.of({"fog": 0.4, "rotation": 0.2}))
    rows = [
        measurement(HOSTILE, shown[0].digest, name, spec.conditions[0], name == "SqueezeNet")
        for name in spec.model_names
    ]
    return report.of_live(spec, shown[0], rows)


def swept() -> report.Report:
    spec, shown = small(Condition.of({"gaussian_noise": 1.0}))
    spec = replace(spec, seed=3)  # that of the made-up rows
    found: list[Measurement | Break] = [
        measurement(
            HOSTILE,
            shown[0].digest,
            name,
            Condition.of({"gaussian_noise": strength}),
            strength < 0.5,
        )
        for name in spec.model_names
        for strength in (0.0, 0.5, 1.0)
    ]
    found += [
        broken("SqueezeNet", 0.4, 0.3, 0.5),
        broken("EfficientNetLite0", 0.45, 0.4, 0.5),
        broken("EfficientNetLite2", None, None, None),
    ]
    return report.of_map(spec, shown[:1], swept=found)
