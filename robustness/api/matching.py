"""Matches from Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from robustness import matching
from robustness import models as models_
from robustness.api.argument_checks import checked_call
from robustness.api.sources import check_classes, opened
from robustness.base.errors import ParameterError
from robustness.base.files import expect_writable, write_file
from robustness.matching import Match


@checked_call
def match(
    images: Any,
    *,
    reference: Any,
    classes: Any = None,
    models: Sequence[str] | None = None,
    out: str | PathLike[str] | None = None,
    labels: str | PathLike[str] | None = None,
    fit: str | None = None,
    side: int | None = None,
    seed: int = 0,
    note: Callable[[str, int, int], object] | None = None,
) -> Match:
    """Estimate which perturbations make ``images`` unlike ``reference``.

    Both are sources as for ``evaluate``, with its ``classes``; ``reference`` shows the same kind of
    scene and may have labels. The answer has ``perturbations`` with strengths and intervals, the
    ``expected_accuracy`` of the ``models`` (by default those of the command line) and
    ``unexplained``. ``out`` is a TOML file for the profile, which ``make_spec`` takes as a suite.
    ``labels`` is a CSV file: if it does not exist, it is written with up to 100 of the ``images``,
    drawn by the ``seed``, to fill in whether each model is correct on the first 20 or more; if it
    exists, its labels narrow the accuracy.
    ``note`` receives what is computed, how much is done and how much there is; an exception from
    it cancels. Raises ``ParameterError`` with fewer than 20 images on a side.
    """
    path = None if out is None else Path(out)
    expect_profile(path)
    table = None if labels is None else Path(labels)
    expect_labels(table)
    check_classes(classes, images, reference)

    def first(answer: Match) -> None:
        if table is not None and table.exists():
            with_label_table(answer, table)  # raises what is wrong with it before the search

    answer = matched(
        images,
        reference,
        models,
        classes=classes,
        fit=fit,
        side=side,
        seed=seed,
        note=note or (lambda *_: None),
        first=first,
    )
    if table is not None:
        answer = with_label_table(answer, table)
    if path is not None:
        write_file(path, matching.as_toml(answer).encode())
    return answer


def expect_profile(path: Path | None) -> None:
    """Raise ``ParameterError`` where no profile can be written, before the work begins."""
    if path is not None and path.suffix != ".toml":
        raise ParameterError(f"Expected a file for the profile that ends in .toml, got {path}.")
    expect_writable(path)


def expect_labels(path: Path | None) -> None:
    """Raise ``ParameterError`` unless a table of labels is there, or can be written.

    This is before the work begins.
    """
    if path is not None and path.suffix != ".csv":
        raise ParameterError(f"Expected a file for the labels that ends in .csv, got {path}.")
    if path is not None and path.exists():
        matching.sheet_rows(path)
    else:
        expect_writable(path)


def with_label_table(answer: Match, path: Path) -> Match:
    """``answer`` with the labels in the table ``path``, which is written if it does not exist."""
    if path.exists():
        return matching.with_labels(answer, matching.read_sheet(path, answer.sample))
    if not answer.sample:
        raise ParameterError("Expected models whose predictions can be labelled, got none.")
    write_file(path, matching.sheet(answer.sample).encode())
    return answer


def matched(
    images: Any,
    reference: Any,
    names: Sequence[str] | None,
    *,
    classes: Any = None,
    fit: str | None,
    side: int | None,
    seed: int,
    note: Callable[[str, int, int], object],
    first: Callable[[Match], object] = lambda _answer: None,
) -> Match:
    """The match of two sources with models by name, the default selection without any.

    ``first`` receives the answer without a cause, before the search for one.
    """
    chosen = models_.resolve(list(names) if names else None)
    return matching.match(
        opened(images, classes),
        opened(reference, classes),
        chosen,
        overrides=(fit, side),
        seed=seed,
        note=note,
        first=first,
    )
