"""Plugins: loaded from where the settings name them, used like built-in records, held to laws."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from robustness import metrics, plugins, runs
from robustness.attacks import REGISTRY as ATTACKS
from robustness.base.errors import PluginError, RunError
from robustness.base.own_process import environment
from robustness.commands.main import main
from robustness.evaluation.condition import Condition
from robustness.evaluation.rows import SCHEMA
from robustness.perturbations import REGISTRY as PERTURBATIONS
from robustness.perturbations import compose
from robustness.plugins import loading, origins
from robustness.plugins.adding import TAKEN
from robustness.plugins.laws import images
from robustness.remedies import parse
from robustness.report import of_run, write
from robustness.runs.again import plan_again
from robustness.runs.replay import replay
from tests.support import pages
from tests.support.documents import DOCUMENTS, blocks
from tests.support.made_datasets import labelled_folder
from tests.support.saved_runs import performed, spec, use_stand_ins

(PLUGIN,) = blocks("python", DOCUMENTS["docs/plugins.md"])

CONDITIONS = (Condition.of({"fog": 0.4}),)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder whose robustness.toml names one plugin, which is loaded."""
    (tmp_path / "hot.py").write_text(PLUGIN)
    (tmp_path / "robustness.toml").write_text('plugins = ["hot.py"]')
    with monkeypatch.context() as patch:
        patch.chdir(tmp_path)
        plugins.load()
        yield tmp_path
    plugins.load()
    assert "hot_pixels" not in PERTURBATIONS, "a plugin that is no longer named is gone"


def described(folder: Path, text: str) -> None:
    (folder / "mine.toml").write_text(f"interface = 1\n{text}")
    (folder / "robustness.toml").write_text('plugins = ["hot.py", "mine.toml"]')
    plugins.load()


def image(name: str, strength: float = 0.5) -> np.ndarray:
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
    entry = run.figures().summary[0]
    mine = frame[frame["model"] == entry["model"]]
    assert entry["changed_pixels"] == pytest.approx(mine["changed_pixels"].mean())
    assert list(run.manifest.plugins) == ["hot.py"]
    assert replay(run, folder / "runs").verdict == "identical"
    for kind in ("csv", "html", "parquet"):
        write(of_run(run), folder / f"report.{kind}")
    assert (folder / "report.csv").read_text().splitlines()[0].endswith("changed_pixels,moved_by")
    assert "Changed pixels" in (folder / "report.html").read_text()
    assert "changed_pixels" in pq.read_schema(folder / "report.parquet").names


def test_without_the_plugin_its_metrics_can_be_read_and_a_replay_names_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_stand_ins(monkeypatch)
    source = labelled_folder(folder / "three", 2)
    with_metric = performed(source, folder / "runs", spec(CONDITIONS), limit=2).folder
    asked = spec([Condition.of({"hot_pixels": 0.5})])
    with_perturbation = performed(source, folder / "runs", asked, limit=2).folder
    remedied = replace(spec(CONDITIONS), remedies=(parse("drop_bits"),))
    with_remedy = performed(source, folder / "runs", remedied, limit=2).folder
    (folder / "robustness.toml").unlink()
    plugins.load()
    run = runs.load(with_metric)
    assert run.frame()["changed_pixels"].notna().all()
    with pytest.raises(RunError, match=r"hot\.py"):
        plan_again(run.manifest)
    with pytest.raises(RunError, match=r"hot\.py.*hot_pixels"):
        runs.load(with_perturbation)
    with pytest.raises(RunError, match=r"hot\.py.*drop_bits"):
        runs.load(with_remedy)


def test_a_job_loads_the_plugins(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = labelled_folder(folder / "three", 1)
    asked = spec([Condition.of({"hot_pixels": 0.5})], names=["SqueezeNet"])
    plan = runs.plan(str(source), asked)
    with runs.start(plan, folder / "runs") as session:
        unfinished = session.folder
    command = [sys.executable, "-m", "robustness", "runs", "resume", str(unfinished)]
    subprocess.run([*command, "--background"], check=True, env=environment(), cwd=os.getcwd())
    assert runs.load(unfinished).frame()["changed_pixels"].gt(0).all()


def test_a_remedy_of_a_plugin_is_one_like_the_others(folder: Path) -> None:
    before = np.full((1, 8, 8, 3), 15 / 255, np.float32)
    np.testing.assert_allclose(parse("drop_bits").images(before), 8 / 255, atol=1e-6)


def test_a_page_offers_the_perturbation_and_shows_the_metric(folder: Path) -> None:
    app = pages.run(sample="coffee", models="SqueezeNet", hot_pixels="0.5")
    assert not app.exception
    assert "Changed pixels" in pages.html(app)
    assert pages.headline(app).startswith("Hot pixels")


def test_a_perturbation_of_a_plugin_is_deterministic_and_independent_of_the_batch(
    folder: Path,
) -> None:
    together = image("hot_pixels")
    alone = compose(images(64)[1:2], {"hot_pixels": 0.5}, seed=1, digests=["b"])
    np.testing.assert_array_equal(together[1], alone[0])
    assert (together != images(64)).any((1, 2, 3)).all()


def test_the_check_says_which_law_fails_on_what(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
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
    assert main(["plugins", "check", "broken.py", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)["findings"]
    failed = {(entry["name"], entry["law"]) for entry in told if not entry["holds"]}
    assert {name for name, _ in failed} == {"mean_of_all", "too_large"}
    assert any("alone" in law for name, law in failed if name == "mean_of_all")
    assert [law for name, law in failed if name == "too_large"] == ["stays within its bounds"]
    origins.forget("broken.py", loading.REGISTRIES)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import missing_module", "missing_module"),
        ("pass", "ROBUSTNESS_INTERFACE = 1"),
        ("ROBUSTNESS_INTERFACE = 2", "interface 1, got 2"),
        ("import robustness as rb\n@rb.perturbation()\ndef fog(a, b, c): ...", "built-in"),
        ("import robustness as rb\n@rb.metric()\ndef flip_rate(a, b): ...", "flip_rate"),
        ("import robustness as rb\n@rb.metric(of='sound')\ndef loud(a, b): ...", "sound"),
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


@pytest.mark.parametrize("result", ["images[:, :9]", "images * np.nan", "None", "1 / 0"])
def test_what_a_plugin_returns_is_checked(folder: Path, result: str) -> None:
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
    with pytest.raises(PluginError, match="'bad'"):
        image("bad")


def test_a_name_of_a_column_is_refused_for_a_metric(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_stand_ins(monkeypatch)
    run = performed(labelled_folder(folder / "three", 2), folder / "runs", spec(), limit=2)
    figures = run.figures()
    names = {*SCHEMA.names, *figures.ranking()[0], *figures.by_perturbation[0]}
    assert {name for name in names if not TAKEN.fullmatch(name)} <= {*metrics.REGISTRY.names}


def test_overlays_cover_what_is_below_them_by_their_opacity(folder: Path) -> None:
    (folder / "dirt").mkdir()
    red = np.zeros((10, 10, 4), np.uint8)
    red[:, 5:] = (0, 0, 255, 255)  # in OpenCV's order
    cv2.imwrite(str(folder / "dirt" / "red.png"), red)
    described(folder, '[dirty]\noverlays = "dirt"\nopacity = 0.5')
    result = image("dirty", 1.0)
    before = images(64)
    np.testing.assert_array_equal(result[:, :, :31], before[:, :, :31])
    np.testing.assert_allclose(
        result[:, :, 33:], 0.5 * before[:, :, 33:] + [0.5, 0, 0], atol=1 / 255
    )


def test_a_composition_is_the_perturbations_it_names(folder: Path) -> None:
    described(folder, "[dim]\ncomposition = { contrast = 0.8, brightness = 0.4 }")
    expected = compose(images(64), {"contrast": 0.4, "brightness": 0.2})
    np.testing.assert_allclose(image("dim"), expected, atol=1.1 / 255)


def test_a_transform_grows_by_one_argument(folder: Path) -> None:
    (folder / "kinds.py").write_text(
        """
class Nrtk:
    def __init__(self, ksize, seed=None):
        self.level = ksize
    def __call__(self, image, boxes=None):
        return image // self.level, boxes

class Albumentations:
    def __init__(self, limit, p):
        self.level = limit[1]
    def set_random_seed(self, seed): ...
    def __call__(self, *, image):
        return {"image": image // self.level}
"""
    )
    described(
        folder,
        '[a]\ntransform = "kinds.Nrtk"\nargument = "ksize"\nfrom = 1\nto = 7\n'
        '[b]\ntransform = "kinds.Albumentations"\nargument = "limit"\nfrom = [1, 1]\nto = [1, 7]\n'
        "arguments = { p = 1.0 }",
    )
    expected = np.rint(images(64) * 255) // 5
    for name in ("a", "b"):
        np.testing.assert_array_equal(np.rint(image(name) * 255), expected)


@pytest.mark.parametrize(
    "text",
    [
        "[x]",
        '[x]\noverlays = "nowhere"',
        "[x]\ncomposition = { fogg = 0.5 }",
        '[x]\ntransform = "no.such"\nargument = "a"',
        '[x]\noverlay = "dirt"',
    ],
)
def test_a_wrong_description_is_one_sentence(folder: Path, text: str) -> None:
    with pytest.raises(PluginError, match=r"mine\.toml"):
        described(folder, text)
    assert "x" not in PERTURBATIONS
