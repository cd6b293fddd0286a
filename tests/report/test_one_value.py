"""One figure has one value, whichever report, command or table gives it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks.support.synthetic_rows import APGD
from robustness.api.saved_runs import open_run
from robustness.commands.main import main
from robustness.evaluation.condition import Condition
from tests.support.synthetic_remedies import CONDITIONS, Made

IDENTITY = frozenset(
    {
        *("model", "remedy", "condition", "perturbation", "series", "strength", "severity"),
        *("label", "class_name", "column", "value", "before", "after", "better", "worse", "other"),
        *("norm", "epsilon", "attack", "stage", "corruption", "lower", "upper"),
    }
)
"""What a figure is of. Where it is printed is no part of that."""

SUITES: dict[str, tuple[Condition, ...]] = {
    "perturbations": CONDITIONS,
    "attack": (APGD, Condition.of({"fog": 0.6})),
}

Key = tuple[str, tuple[tuple[str, Any], ...]]


def figures(value: Any, quantity: str = "", of: tuple[tuple[str, Any], ...] = ()) -> Iterator[Any]:
    """(key, number) of all figures within ``value``, of entries that name a model."""
    if isinstance(value, Mapping):
        own = {name: each for name, each in value.items() if name in IDENTITY and each is not None}
        of = tuple(sorted({**dict(of), **{k: str(v) for k, v in own.items()}}.items()))
        for name, each in value.items():
            inner = name if "model" in own or not quantity else f"{quantity}.{name}"
            if name not in IDENTITY:
                yield from figures(each, inner, of)
    elif isinstance(value, list):
        for each in value:
            if not isinstance(each, float):  # the points of a curve are of no one condition
                yield from figures(each, quantity, of)
    elif isinstance(value, float) and any(name in {"model", "better"} for name, _ in of):
        yield (quantity, of), value


@pytest.mark.parametrize("labelled", [True, False], ids=["labelled", "unlabelled"])
@pytest.mark.parametrize("suite", SUITES)
def test_a_figure_has_one_value_wherever_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], suite: str, labelled: bool
) -> None:
    run = Made(tmp_path, conditions=SUITES[suite], labelled=labelled).run.folder
    file = tmp_path / "report.json"
    assert main(["report", str(run), "--to", str(file)]) == 0
    report = json.loads(file.read_text(encoding="utf-8"))
    documents: dict[str, Any] = {"report": {k: v for k, v in report.items() if k != "rows"}}
    for command in ("choose", "failures", "threshold"):
        capsys.readouterr()
        assert main([command, str(run), "--json"]) == 0
        documents[command] = json.loads(capsys.readouterr().out)
    documents["summary"] = open_run(run).summary().to_dict("records")
    values: dict[Key, dict[str, set[float]]] = {}
    for name, document in documents.items():
        for key, value in figures(document):
            values.setdefault(key, {}).setdefault(name, set()).add(round(value, 9))
    shared = [key for key, places in values.items() if len(places) > 1]
    assert len(shared) > 20
    for key, places in values.items():
        assert len(set.union(*places.values())) == 1, (key, places)
