"""Robustness from Python: a few lines from images and models to a decision.

::

    import robustness as rb

    run = rb.evaluate("photos", models=["SqueezeNet", "EfficientNetLite0"], conditions=["fog=0.6"])
    print(run.summary(), rb.choose(run).sentences)
    run.report("report.html")

Every public name here is one of the package ``robustness``, too, unless a package has it. Whatever
goes wrong raises a ``RobustnessError`` with a sentence for people. Nothing imports TensorFlow
before a model is loaded.
"""

from __future__ import annotations

from robustness.api.arguments import add_model, load_model, model, model_names, remove_model
from robustness.api.images import (
    Pair,
    Sweep,
    adversarial,
    evaluate_pictures,
    pair,
    perturb,
    remedy,
    smallest_breaks,
    sweep,
)
from robustness.api.runs import (
    EvaluatedRun,
    calibrate,
    check,
    choose,
    compare,
    domain,
    evaluate,
    evaluate_predictions,
    export,
    failing_images,
    failures,
    gains,
    harden,
    make_spec,
    match,
    open_run,
    propose_domain,
    read_domain,
    read_request,
    record,
    report,
    safe_threshold,
)
from robustness.base.errors import RobustnessError
from robustness.hardening import Hardening
from robustness.matching import Match
from robustness.measure.condition import Condition
from robustness.measure.domain import Domain
from robustness.measure.request import Request
from robustness.plugins.decorators import (
    attack,
    dataset,
    metric,
    perturbation,
    remedy_plugin,
)
from robustness.runs import Comparison, Progress, Run
from robustness.runs.calibrate import Calibration
from robustness.runs.cases import Failures
from robustness.statistics import ModelChoice

__all__ = [
    "Calibration",
    "Comparison",
    "Condition",
    "Domain",
    "EvaluatedRun",
    "Failures",
    "Hardening",
    "Match",
    "ModelChoice",
    "Pair",
    "Progress",
    "Request",
    "RobustnessError",
    "Run",
    "Sweep",
    "add_model",
    "adversarial",
    "attack",
    "calibrate",
    "check",
    "choose",
    "compare",
    "dataset",
    "domain",
    "evaluate",
    "evaluate_pictures",
    "evaluate_predictions",
    "export",
    "failing_images",
    "failures",
    "gains",
    "harden",
    "load_model",
    "make_spec",
    "match",
    "metric",
    "model",
    "model_names",
    "open_run",
    "pair",
    "perturb",
    "perturbation",
    "propose_domain",
    "read_domain",
    "read_request",
    "record",
    "remedy",
    "remedy_plugin",
    "remove_model",
    "report",
    "safe_threshold",
    "smallest_breaks",
    "sweep",
]
