"""Matches from Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from robustness import matching
from robustness import models as model_records
from robustness.api.argument_checks import checked_call
from robustness.api.dataset_argument import check_classes, open_images
from robustness.base.errors import ParameterError
from robustness.base.files_and_locks import expect_writable, write_file
from robustness.matching import Match, MatchSettings


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
    first: Callable[[Match], object] = lambda _answer: None,
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
    it cancels. ``first`` receives the answer without a cause, before the search for one. Raises
    ``ParameterError`` with fewer than 20 images on a side.
    """
    profile = None if out is None else Path(out)
    if profile is not None and profile.suffix != ".toml":
        raise ParameterError(f"Expected a file for the profile that ends in .toml, got {profile}.")
    table = None if labels is None else Path(labels)
    if table is not None and table.suffix != ".csv":
        raise ParameterError(f"Expected a file for the labels that ends in .csv, got {table}.")
    to_read = table is not None and table.exists()
    if table is not None and to_read:
        matching.sheet_rows(table)  # raises what is wrong with it before the work begins
    expect_writable(profile, None if to_read else table)
    check_classes(classes, images, reference)

    def with_labels(answer: Match) -> Match:
        if table is None or not to_read:
            return answer
        return matching.with_labels(answer, matching.read_sheet(table, answer.sample))

    answer = with_labels(
        matching.match(
            open_images(images, classes),
            open_images(reference, classes),
            MatchSettings(
                models=model_records.resolve(list(models) if models else None),
                fit=fit,
                side=side,
                seed=seed,
            ),
            note=note or (lambda *_: None),
            first=lambda answer: first(with_labels(answer)),
        )
    )
    if table is not None and not to_read:
        if not answer.sample:
            raise ParameterError("Expected models whose predictions can be labelled, got none.")
        write_file(table, matching.sheet(answer.sample).encode())
    if profile is not None:
        write_file(profile, matching.as_toml(answer).encode())
    return answer
