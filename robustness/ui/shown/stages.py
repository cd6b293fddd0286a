"""The chart of where features diverge, and the choice of how activations are compared."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import pandas as pd
from streamlit.delta_generator import DeltaGenerator

from robustness import models
from robustness.base.text import plain
from robustness.charts import answers, style
from robustness.metrics.features import RESCALED
from robustness.models import REGISTRY as MODELS
from robustness.ui.session.inputs import keep, one_of, restore
from robustness.ui.shown import results

AVERAGED, BY_PLACE = "averaged", "by place"
_COMPARED = {AVERAGED: "averaged over the image", BY_PLACE: "place by place"}


def by_place_input() -> bool:
    """Whether activations are compared place by place; otherwise averaged over height and width."""
    restore("compared", AVERAGED)
    chosen = one_of(
        "Activations compared",
        _COMPARED,
        "compared",
        shows_label=False,
        help="Averaging hides content that only moved, such as under a flip. Comparing place by "
        "place counts it as fully as content that changed.",
    )
    keep("compared", chosen)
    return chosen == BY_PLACE


def chart(
    place: DeltaGenerator | ModuleType, stages: pd.DataFrame, metric: str, by_place: bool
) -> None:
    """Draw the lines of ``answers.stage_frame`` or ``stage_means`` with a caption."""
    results.chart(
        place,
        answers.stage_lines(stages, metric),
        "stages",
        style.describe(
            stages.assign(model=stages["model"] + " " + stages["stage"]), [metric, RESCALED[metric]]
        ),
    )
    reading = "" if by_place else _reading_maps(stages["model"].tolist())
    place.caption(
        "From the first layers to the embedding: 1 = unchanged, 0 = as similar as unrelated "
        f"images. {reading}"
    )


def _reading_maps(names: Sequence[str]) -> str:
    """Name the models whose head reads more than the average; "" if none does."""
    reading = [n for n in dict.fromkeys(names) if n in MODELS and MODELS[n].head_reads_map]
    whose = " and ".join(f"{plain(models.label(name))}'s" for name in reading)
    return f"{whose} head reads its last stage place by place, not this average." if whose else ""
