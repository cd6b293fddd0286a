"""Plugins: loaded from where the settings name them, used like built-in records."""

from __future__ import annotations

import os
import quopri
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import robustness as rb
from benchmarks.support.image_folders import labelled_folder
from robustness import metrics, models, plugins, runs
from robustness.attacks import REGISTRY as ATTACKS
from robustness.attacks import AttackSpec, attack
from robustness.base.errors import PluginError, RobustnessError, RunError
from robustness.base.processes import environment
from robustness.base.registry import Registry
from robustness.cli.main import main
from robustness.measure.condition import Condition
from robustness.measure.rows import SCHEMA
from robustness.perturbations import REGISTRY as PERTURBATIONS
from robustness.perturbations import compose
from robustness.plugins import laws, loading
from robustness.plugins.decorators import TAKEN
from robustness.plugins.laws import images
from robustness.remedies import REGISTRY as REMEDIES
from robustness.remedies import parse
from robustness.report import of_run, write
from robustness.runs import Analysis
from tests.plugins.conftest import CHECK, PLUGIN
from tests.support import pages
from tests.support.saved_runs import (
    assert_same_rows,
    evaluate_again,
    performed,
    spec,
    use_stand_ins,
)

CONDITIONS = (Condition.of({"fog": 0.4}),)


def image(name: str, strength: float = 0.5) -> np.ndarray:
    """Three images of 64 pixels under the perturbation ``name``."""
    return compose(images(64), {name: strength}, seed=1, digests=["a", "b", "c"])


def test_one_of_each_kind_is_a_column_a_condition_and_an_entry_of_the_manifest(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_stand_ins(monkeypatch)
    asked = spec(
        [Condition.of({"hot_pixels": 0.5}), Condition.parse("random_signs(epsilon=2/255,steps=2)")]
    )
    source = labelled_folder(folder / "three", 2)
    run = performed(source, folder / "runs", asked, limit=2)
    frame = run.frame()
    hot = frame[frame["perturbation"] == "hot_pixels"]
    assert hot["changed_pixels"].between(0.1, 0.2).all()
    assert (hot["moved_by"] > 0).all()
    entry = Analysis(run).figures.summary[0]
    mine = frame[frame["model"] == entry["model"]]
    assert entry["changed_pixels"] == pytest.approx(mine["changed_pixels"].mean())
    assert list(run.manifest.plugins) == ["hot.py"]
    assert_same_rows(run, evaluate_again(run, folder / "runs"))
    for kind in ("csv", "html", "parquet"):
        write(of_run(run), folder / f"report.{kind}")
    assert (folder / "report.csv").read_text().splitlines()[0].endswith("changed_pixels,moved_by")
    assert "Changed pixels" in (folder / "report.html").read_text()
    assert "changed_pixels" in pq.read_schema(folder / "report.parquet").names


def test_without_the_plugin_its_metrics_can_be_read_and_a_new_evaluation_names_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_stand_ins(monkeypatch)
    source = labelled_folder(folder / "three", 2)
    with_metric = performed(source, folder / "runs", spec(CONDITIONS), limit=2).folder
    asked = spec([Condition.of({"hot_pixels": 0.5})])
    with_perturbation = performed(source, folder / "runs", asked, limit=2).folder
    remedied = spec(CONDITIONS).with_remedies([parse("drop_bits")])
    with_remedy = performed(source, folder / "runs", remedied, limit=2).folder
    (folder / "robustness.toml").unlink()
    plugins.load()
    run = runs.load(with_metric)
    assert run.frame()["changed_pixels"].notna().all()
    with pytest.raises(RunError, match=r"hot\.py"):
        runs.reevaluation_plan(run.manifest)
    with pytest.raises(RunError, match=r"hot\.py.*hot_pixels"):
        runs.load(with_perturbation)
    with pytest.raises(RunError, match=r"hot\.py.*drop_bits"):
        runs.load(with_remedy)


def test_a_dataset_is_a_source_by_its_name_and_its_images_are_there_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_stand_ins(monkeypatch)
    run = rb.evaluate(
        "dataset:greys", models=["SqueezeNet"], conditions=["fog=0.4"], out=folder / "runs"
    )
    assert run.images == 4
    assert "hot.py" in run.manifest.plugins
    assert runs.load(run.folder).picture("image 3").image.mean() == pytest.approx(224 / 255)
    assert_same_rows(run, evaluate_again(run, folder / "runs"))
    with pytest.raises(RobustnessError, match=r"no dataset called 'grey'.*Did you mean 'greys'"):
        rb.evaluate("dataset:grey", models=["SqueezeNet"], conditions=["fog=0.4"])
    (folder / "robustness.toml").unlink()
    plugins.load()
    with pytest.raises(RunError, match="cannot be opened again"):
        runs.load(run.folder).picture("image 3")


def test_commands_on_runs_load_the_plugins_first(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_stand_ins(monkeypatch)
    asked = spec([Condition.of({"hot_pixels": 0.5})])
    run = performed(labelled_folder(folder / "three", 1), folder / "runs", asked)
    named = (folder / "robustness.toml").rename(folder / "away.toml")
    plugins.load()
    assert "hot_pixels" not in PERTURBATIONS
    named.rename(folder / "robustness.toml")
    for action in ([], ["delete", run.id, "--yes"]):
        assert main(["runs", *action]) == 0
        told = capsys.readouterr().out
        assert run.id in told
        assert "needs the plugin" not in told


def test_a_job_loads_the_plugins(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = labelled_folder(folder / "three", 1)
    asked = spec([Condition.of({"hot_pixels": 0.5})], names=["SqueezeNet"])
    plan = runs.plan(str(source), asked)
    with runs.start(plan, folder / "runs") as writer:
        unfinished = writer.folder
    command = [sys.executable, "-m", "robustness", "runs", "resume", str(unfinished)]
    subprocess.run([*command, "--background"], check=True, env=environment(), cwd=os.getcwd())
    assert runs.load(unfinished).frame()["changed_pixels"].gt(0).all()


def test_a_remedy_of_a_plugin_is_one_like_the_others(folder: Path) -> None:
    before = np.full((1, 8, 8, 3), 15 / 255, np.float32)
    np.testing.assert_allclose(parse("drop_bits").images(before), 8 / 255, atol=1e-6)


def test_a_page_offers_the_perturbation_and_shows_the_metric(folder: Path) -> None:
    app = pages.run(sample="coffee", models="SqueezeNet", hot_pixels="0.5")
    assert "Changed pixels" in pages.html(app)
    assert pages.headline(app).startswith("Hot pixels")


def test_a_perturbation_of_a_plugin_is_deterministic_and_independent_of_the_batch(
    folder: Path,
) -> None:
    together = image("hot_pixels")
    alone = compose(images(64)[1:2], {"hot_pixels": 0.5}, seed=1, digests=["b"])
    np.testing.assert_array_equal(together[1], alone[0])
    assert (together != images(64)).any((1, 2, 3)).all()


def test_the_example_obeys_all_laws(folder: Path) -> None:
    (folder / "hot_pixels.py").write_text(PLUGIN)
    (folder / "robustness.toml").write_text('plugins = ["hot_pixels.py"]')
    exec(CHECK, {})


def test_the_laws_say_what_fails_on_what(folder: Path) -> None:
    broken = """
import numpy as np
import robustness as rb
ROBUSTNESS_INTERFACE = 1

@rb.perturbation(batched=True, random=False)
def mean_of_all(images, strength, rng):
    return np.broadcast_to(images.mean(0), images.shape) * strength

@rb.metric(low=0, high=1)
def too_large(original, perturbed):
    return np.full(len(original), 2.0)
"""
    (folder / "broken.py").write_text(broken)
    (folder / "robustness.toml").write_text('plugins = ["hot.py", "broken.py"]')
    plugins.load()
    failed = {(result.name, result.law) for result in laws.check("broken.py") if not result.holds}
    assert {name for name, _ in failed} == {"mean_of_all", "too_large"}
    assert any("alone" in law for name, law in failed if name == "mean_of_all")
    assert [law for name, law in failed if name == "too_large"] == ["stays within its bounds"]
    with pytest.raises(PluginError, match=r"nothing\.py adds nothing"):
        list(laws.check("nothing.py"))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import missing_module", "missing_module"),
        ("pass", "ROBUSTNESS_INTERFACE = 1"),
        ("ROBUSTNESS_INTERFACE = 2", "interface 1, got 2"),
        ("import robustness as rb\n@rb.perturbation()\ndef fog(a, b, c): ...", "built-in"),
        ("import robustness as rb\n@rb.metric()\ndef flip_rate(a, b): ...", "flip_rate"),
        ("import robustness as rb\n@rb.metric(of='sound')\ndef loud(a, b): ...", "'images'"),
        ("import robustness as rb\n@rb.attack(norms='linf')\ndef go(a, b): ...", "names of norms"),
        ("import robustness as rb\n@rb.attack(steps=0)\ndef go(a, b): ...", "at least 1"),
        ("import robustness as rb\n@rb.metric\ndef m(a, b): ...", "as in @rb.metric()"),
        (
            "import robustness as rb\n@rb.metric()\ndef m(a, b): ...\n"
            "@rb.metric()\ndef m(a, b): ...",
            "Two functions add the metric 'm'",
        ),
    ],
)
def test_a_plugin_that_cannot_be_loaded_is_one_sentence_and_adds_nothing(
    folder: Path, code: str, expected: str
) -> None:
    before = (PERTURBATIONS.names, metrics.REGISTRY.names, ATTACKS.names)
    (folder / "bad.py").write_text(code)
    (folder / "robustness.toml").write_text('plugins = ["hot.py", "bad.py"]')
    with pytest.raises(PluginError, match=r"bad\.py") as raised:
        plugins.load()
    assert expected in str(raised.value)
    assert (PERTURBATIONS.names, metrics.REGISTRY.names, ATTACKS.names) == before


def test_a_second_file_of_the_same_name_is_refused(folder: Path) -> None:
    (folder / "other").mkdir()
    (folder / "other" / "hot.py").write_text("ROBUSTNESS_INTERFACE = 1")
    (folder / "robustness.toml").write_text('plugins = ["hot.py", "other/hot.py"]')
    with pytest.raises(PluginError, match="another file name"):
        plugins.load()
    assert "hot_pixels" in PERTURBATIONS


def test_an_installed_package_names_its_module_by_an_entry_point(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "packages" / "company").mkdir(parents=True)
    for name in ("__init__", "remedies"):
        (folder / "packages" / "company" / f"{name}.py").write_text("")
    with (folder / "packages" / "company" / "remedies.py").open("a") as file:
        file.write("import robustness as rb\nROBUSTNESS_INTERFACE = 1\n")
        file.write("@rb.remedy_plugin()\ndef same(image):\n    return image\n")
    information = folder / "packages" / "company-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: company\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[robustness.plugins]\ncompany = company.remedies\n"
    )
    monkeypatch.syspath_prepend(folder / "packages")
    loading._entry_points.cache_clear()
    plugins.load()
    assert [plugin.name for plugin in plugins.plugins()] == ["hot.py", "company.remedies"]
    assert loading.plugin_of(REMEDIES, "same").shared  # type: ignore[union-attr]
    monkeypatch.undo()
    loading._entry_points.cache_clear()
    os.chdir(folder)
    plugins.load()
    assert "same" not in REMEDIES


@pytest.mark.parametrize("text", ["my_company.perturbations", "dirt.toml"])
def test_the_setting_takes_python_files_alone(folder: Path, text: str) -> None:
    (folder / "robustness.toml").write_text(f'plugins = ["{text}"]')
    with pytest.raises(PluginError, match=rf"\.py files .* got '{text}'.*entry point"):
        plugins.load()


def test_a_file_that_cannot_be_loaded_leaves_no_module(folder: Path) -> None:
    (folder / "bad.py").write_text("1 / 0")
    for name in (str(folder / "bad.py"), "quopri"):  # which names no interface
        with pytest.raises(PluginError):
            loading.load_one(name)
    assert "robustness_plugin_bad" not in sys.modules
    assert sys.modules["quopri"] is quopri


def bright(strength: float, images: np.ndarray, *_: object) -> np.ndarray:
    return images * 0 + np.float32(strength)


class Bright:
    def __call__(self, images: np.ndarray, strength: float, rng: object) -> np.ndarray:
        return bright(strength, images)


@pytest.mark.parametrize(
    "function", [partial(bright, 0.5), Bright(), np.fmax], ids=["partial", "object", "ufunc"]
)
def test_anything_that_can_be_called_can_be_added(function: Callable[..., Any]) -> None:
    rb.perturbation(name="lit")(function)
    assert "lit" in PERTURBATIONS
    loading.forget(loading.module_of(function))
    assert "lit" not in PERTURBATIONS


@pytest.mark.parametrize("parameter_at", [lambda s: 1 / (s - 0.5), lambda s: "much"])
def test_a_parameter_that_cannot_be_told_is_one_sentence_and_breaks_a_law(
    parameter_at: Callable[[float], float],
) -> None:
    @rb.perturbation(parameter_at=parameter_at, random=False, monotone=False)
    def moved(images: np.ndarray, strength: float, rng: object) -> np.ndarray:
        return 1 - images

    with pytest.raises(PluginError, match="parameter_at of the perturbation 'moved'"):
        assert Condition.of({"moved": 0.5}).parameter
    (told,) = [found for found in laws.check(__name__) if not found.holds]
    assert "parameter" in told.law
    loading.forget(__name__)


def attacked(name: str) -> np.ndarray:
    """An image after the attack ``name`` on SqueezeNet."""
    model = models.load("SqueezeNet", side=224)
    return attack(model, images(224)[:1], np.array([3]), AttackSpec.of(name, steps=2))


@pytest.mark.parametrize(
    "kind", [PERTURBATIONS, metrics.REGISTRY, ATTACKS, REMEDIES], ids=lambda registry: registry.kind
)
def test_a_result_that_is_no_array_is_one_sentence(kind: Registry[Any]) -> None:
    add: Callable[[], Any] = {
        PERTURBATIONS: rb.perturbation,
        metrics.REGISTRY: rb.metric,
        ATTACKS: partial(rb.attack, white_box=False),
        REMEDIES: rb.remedy_plugin,
    }[kind]

    @add()
    def odd(*_: object) -> Any:
        return [[1], [1, 2]]

    shown = images(8)
    call: Callable[[], object] = {
        PERTURBATIONS: lambda: image("odd"),
        metrics.REGISTRY: lambda: metrics.REGISTRY["odd"].scores(shown, shown),
        ATTACKS: lambda: attacked("odd"),
        REMEDIES: lambda: parse("odd").images(shown),
    }[kind]
    try:
        with pytest.raises(PluginError, match="'odd'"):
            call()
    finally:
        loading.forget(__name__)


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (
            "images[:, :9]",
            r"returned float32 of shape \(.*: expected floating-point images of shape",
        ),
        ("images * np.nan", "returned values that are not finite numbers"),
        ("images + 1", r"returned values from .* to 2: expected values from 0 to 1\. Clip them"),
        ("(255 * images).astype(np.uint8)", "returned uint8 of shape"),
        ("None", "returned None"),
        ("1 / 0", "failed: ZeroDivisionError: division by zero"),
        ("np.multiply(images, 0, out=images)", "failed: ValueError: .*read-only"),
    ],
)
def test_what_a_plugin_returns_is_checked(folder: Path, result: str, said: str) -> None:
    code = f"""
import numpy as np
import robustness as rb
ROBUSTNESS_INTERFACE = 1

@rb.perturbation()
def bad(images, strength, rng):
    return {result}
"""
    (folder / "bad.py").write_text(code)
    (folder / "robustness.toml").write_text('plugins = ["hot.py", "bad.py"]')
    plugins.load()
    with pytest.raises(PluginError, match=f"'bad' {said}"):
        image("bad")


def test_values_that_are_out_of_range_by_rounding_are_clipped() -> None:
    @rb.perturbation(random=False)
    def nearly(images: np.ndarray, strength: float, rng: object) -> np.ndarray:
        return images.astype(float) * 0 + 1 + 1e-6

    try:
        changed = PERTURBATIONS["nearly"].change(images(8), 0.5, [])
        assert changed.dtype == np.float32
        assert (changed == 1).all()
    finally:
        loading.forget(__name__)


def test_an_attack_cannot_move_the_original() -> None:
    @rb.attack(white_box=False)
    def cheat(task: Any, state: Any) -> np.ndarray:
        task.clean[:] = 0
        return state.images

    try:
        with pytest.raises(PluginError, match=r"'cheat' failed: ValueError: .*read-only"):
            attacked("cheat")
    finally:
        loading.forget(__name__)


def test_a_function_of_a_session_is_for_this_process_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_stand_ins(monkeypatch)

    @rb.perturbation(random=False)
    def dimmed(images: np.ndarray, strength: float, rng: object) -> np.ndarray:
        return images * np.float32(1 - strength)

    try:
        run = performed(
            labelled_folder(folder / "three", 1),
            folder / "runs",
            spec([Condition.of({"dimmed": 0.5})]),
        )
        assert set(run.manifest.plugins) == {"hot.py", __name__}
        assert not loading.plugin_of(PERTURBATIONS, "dimmed").shared  # type: ignore[union-attr]
    finally:
        loading.forget(__name__)
    with pytest.raises(RunError, match=rf"{__name__}.*dimmed"):
        runs.load(run.folder)


def test_a_name_of_a_column_is_refused_for_a_metric(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_stand_ins(monkeypatch)
    run = performed(labelled_folder(folder / "three", 2), folder / "runs", spec(), limit=2)
    figures = Analysis(run).figures
    names = {*SCHEMA.names, *figures.ranking()[0], *figures.by_perturbation[0]}
    assert {name for name in names if not TAKEN.fullmatch(name)} <= {*metrics.REGISTRY.names}
