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
from robustness.base.output_files import expect_writable, write_file
from robustness.evaluation.framings import shared_framing
from robustness.matching import Match


@checked_call
def match(
    images: Any,
    *,
    reference: Any,
    classes: Any = None,
    models: Sequence[str] | None = None,
    out: str | PathLike[str] | None = None,
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
    ``note`` receives what is computed, how much is done and how much there is; an exception from
    it cancels. Raises ``ParameterError`` with fewer than 20 images on a side.
    """
    path = None if out is None else Path(out)
    expect_profile(path)
    check_classes(classes, images, reference)
    answer = matched(
        images,
        reference,
        models,
        classes=classes,
        fit=fit,
        side=side,
        seed=seed,
        note=note or (lambda *_: None),
    )
    if path is not None:
        write_file(path, matching.as_toml(answer).encode())
    return answer


def expect_profile(path: Path | None) -> None:
    """Raise ``ParameterError`` where no profile can be written, before the work begins."""
    if path is not None and path.suffix != ".toml":
        raise ParameterError(f"Expected a file for the profile that ends in .toml, got {path}.")
    expect_writable(path)


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
) -> Match:
    """The match of two sources with models by name, the default selection without any."""
    chosen = models_.resolve(list(names) if names else None)
    return matching.match(
        opened(images, classes),
        opened(reference, classes),
        chosen,
        framing=shared_framing(fit, side, chosen),
        seed=seed,
        note=note,
    )
