"""A film in a report: played where the format can do that, in stills elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from robustness.charts.film import Played
from robustness.charts.verdict import Mark
from robustness.report.content import Case, Cases, Film, Shot

_STILLS = 6


def film(title: str, note: str, read: Callable[[], Played]) -> Film:
    """The film that ``read`` makes anew for every format that shows it."""
    return Film(title, note, read, Cases(f"{title}, in stills.", lambda: _stills(*read())))


def _stills(shown: Mapping[str, Any], pictures: Sequence[bytes]) -> Iterator[Case]:
    """Frames at even distances, each with the verdicts on every model."""
    last = len(shown["frames"]) - 1
    for place in dict.fromkeys(round(last * at / (_STILLS - 1)) for at in range(_STILLS)):
        frame = shown["frames"][place]
        verdicts = [(m["label"], Mark(*m["frames"][place]["verdict"])) for m in shown["models"]]
        title = f"Strength {frame['strength']:.3g}: {frame['text']}"
        yield Case(
            title=title,
            shots=[Shot(pictures[1 + place], "", f"{shown['altAfter']}. {title}")],
            verdict=None,
            lines=[f"{told.sign} {label}: {told.text}" for label, told in verdicts],
        )
