"""Tables of perturbations, fits, metrics and attacks, from the registries."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from robustness import metrics
from robustness.attacks import NORMS, Attack
from robustness.models import REGISTRY as MODELS
from robustness.perturbations import Perturbation


def perturbations(records: Iterable[Perturbation]) -> pd.DataFrame:
    """One row for each of ``records``."""
    return pd.DataFrame(
        [
            {
                "Perturbation": record.label,
                "Family": record.family,
                "Stands for": record.risk,
                "Acts on": record.stage.name.lower(),
                "Parameter": record.parameter,
                "At strength 0.2": record.value_text(0.2),
                "At strength 1": record.value_text(1.0),
                "Study setting": ""
                if record.study_strength is None
                else record.value_text(record.study_strength),
                "ImageNet-C": record.imagenet_c or "none",
                "Random": "yes" if record.random else "no",
                "Source": record.source,
            }
            for record in records
        ]
    )


def fits() -> pd.DataFrame:
    """Accuracy of each model by fit and side, where measured."""
    return pd.DataFrame(
        [
            {
                "Model": record.label,
                "Crop, 224 px": f"{fits.crop:.1f}%",
                "Squash, 224 px": f"{fits.squash:.1f}%",
                "Letterbox, 224 px": f"{fits.letterbox:.1f}%",
                "Own size": record.input_text,
                "Crop, own size": f"{fits.own:.1f}%",
            }
            for record in MODELS
            if (fits := record.fits) is not None
        ]
    )


def metric_formulas() -> pd.DataFrame:
    """Every metric with its formula."""
    return pd.DataFrame(
        [
            {
                "Metric": metric.label,
                "Compares": metric.subject,
                "Formula": metric.formula,
                "Better": "higher" if metric.higher_is_better else "lower",
            }
            for metric in metrics.REGISTRY
        ]
    )


def attacks(records: Iterable[Attack]) -> pd.DataFrame:
    """One row for each of the attacks ``records``."""
    return pd.DataFrame(
        [
            {
                "Attack": record.label,
                "Sees": "gradients" if record.white_box else "predictions only",
                "Measured by": ", ".join(NORMS[norm].label for norm in record.norms),
                "Target": "can aim" if record.targeted else "none",
                "Steps": record.steps,
                "Formula": record.formula,
                "Source": record.source,
            }
            for record in records
        ]
    )
