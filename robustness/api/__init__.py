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

from robustness.api.evaluated_run import (
    EvaluatedRun,
    calibrate,
    check,
    choose,
    compare,
    embedding_map,
    failing_images,
    failures,
    gains,
    open_run,
    report,
    safe_threshold,
)
from robustness.api.evaluation_and_external_predictions import (
    evaluate,
    evaluate_predictions,
    export,
    make_spec,
    read_request,
)
from robustness.api.hardening_and_weakest_perturbations import harden
from robustness.api.image_perturbation_and_conversion import (
    Pair,
    Sweep,
    adversarial,
    evaluate_pictures,
    pair,
    perturb,
    remedy,
    sweep,
)
from robustness.api.matching import match
from robustness.api.own_models import add_model, load_model, model, model_names, remove_model
from robustness.base.errors import RobustnessError
from robustness.evaluation.perturbation_and_attack_conditions import Condition
from robustness.evaluation.request import Request
from robustness.hardening import Hardening
from robustness.matching import Match
from robustness.plugins.decorators import attack, metric, perturbation, remedy_plugin
from robustness.runs import Comparison, Progress, Run
from robustness.runs.failures_and_class_changes import Failures
from robustness.runs.temperature_scaling import Calibration
from robustness.statistics import ModelChoice

__all__ = [
    "Calibration",
    "Comparison",
    "Condition",
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
    "embedding_map",
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
    "read_request",
    "remedy",
    "remedy_plugin",
    "remove_model",
    "report",
    "safe_threshold",
    "sweep",
]
