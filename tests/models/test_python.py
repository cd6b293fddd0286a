"""Functions as models: added from Python or named in models.toml, called within limits."""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from robustness import api, models, runs
from robustness.attacks.loop import attack
from robustness.attacks.record import AttackSpec
from robustness.base.errors import (
    GradientError,
    ModelWarning,
    ParameterError,
    RobustnessError,
    UnknownNameError,
    WeightsError,
)
from robustness.cli import main
from robustness.models import own
from robustness.models.check import pass_milliseconds
from robustness.models.loaded import LOADED
from robustness.models.python import Caller
from robustness.models.record import CallOptions
from robustness.runs import jobs, writer
from tests.support.download_server import running
from tests.support.onnx_files import small_model
from tests.support.user_models import DIGITS, describe

pytestmark = pytest.mark.usefixtures("nothing_stays")

COLOURS = ("red", "green", "blue")
DESCRIBED: dict[str, Any] = {"labels": COLOURS, "input_size": 16, "normalisation": "0..1"}

CHANCE = np.random.default_rng(0)
"""The same in every run: two draws of others may be too close together to tell them apart."""

Floats = NDArray[np.float32]


def logits(pixels: Floats) -> Floats:
    """The mean of each colour, around 0."""
    return 9 * np.asarray(pixels.mean((1, 2)), np.float32) - 4


def probabilities(pixels: Floats) -> Floats:
    found = np.exp(logits(pixels))
    return found / found.sum(axis=1, keepdims=True)


def colour(*values: float) -> Floats:
    return np.full((1, 224, 224, 3), values, np.float32).round(3)


def test_a_function_is_a_model_like_any_other() -> None:
    record = api.add_model("colours", logits, **DESCRIBED)
    assert "colours" in api.model_names()
    assert models.digest(record).startswith("function sha256:")
    spec = api.make_spec(["colours"], perturbations=["fog"])
    assert dict(spec.models)["colours"] == models.digest(record)
    rows = api.evaluate_pictures({"coffee": "sample:coffee"}, spec)
    image = api.load_model("colours")(colour(0.2, 0.4, 0.9))
    expected = probabilities(np.full((1, 16, 16, 3), (0.2, 0.4, 0.9), np.float32))
    assert rows["model"].tolist() == ["colours"]
    assert image.probabilities == pytest.approx(expected, abs=1e-5)


def test_a_function_is_attacked_by_square_alone_and_the_error_says_why() -> None:
    api.add_model("colours", logits, **DESCRIBED)
    classifier, image = api.load_model("colours"), colour(0.5, 0.5, 0.5)
    with pytest.raises(GradientError, match="Square"):
        attack(classifier, image, spec=AttackSpec.of("pgd"))
    found = attack(classifier, image, spec=AttackSpec.of("square"))
    assert classifier(found).probabilities.argmax() != classifier(image).probabilities.argmax()


def test_probabilities_and_logits_are_told_apart_or_asked_for() -> None:
    for name, function in (("probabilities", probabilities), ("logits", logits)):
        weights = api.add_model(name, function, **DESCRIBED).weights
        assert weights.own
        assert weights.own.output == name
    with pytest.raises(ParameterError, match=r"expected output=.*sigmoid, leave it out"):
        api.add_model("c", lambda pixels: pixels.mean((1, 2)), **DESCRIBED)
    with pytest.warns(ModelWarning):
        api.add_model("c", lambda pixels: pixels.mean((1, 2)), output="logits", **DESCRIBED)
    with pytest.raises(ParameterError, match="got probabilities"):
        api.add_model("d", probabilities, output="logits", **DESCRIBED)
    with pytest.raises(ParameterError, match='say output="logits"'):
        api.add_model("d", logits, output="probabilities", **DESCRIBED)


def fails(_pixels: Floats) -> Floats:
    raise ConnectionError("no route to host")


def hangs(pixels: Floats) -> Floats:
    time.sleep(5)
    return logits(pixels)


async def awaited(pixels: Floats) -> Floats:
    return logits(pixels)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda pixels: logits(pixels) * np.nan, "NaN"),
        (lambda pixels: logits(pixels)[:, :2], r"\(1, 3\).*\(1, 2\)"),
        (lambda _: "cat", "one array with a row for each image, got a str"),
        (lambda pixels: {"logits": logits(pixels)}, "got a dict of 'logits'; return the array"),
        (awaited, "got a coroutine"),
        (fails, "ConnectionError: no route to host"),
        (lambda _: sys.exit(3), "asked Python to exit"),
        (hangs, r"no answer within 0.1 s"),
    ],
)
def test_an_answer_that_is_none_gets_a_sentence(function: Any, said: str) -> None:
    timeout = 0.1 if function is hangs else 240
    with pytest.raises(WeightsError, match=said) as caught:
        api.add_model("colours", function, timeout=timeout, **DESCRIBED)
    assert str(caught.value).count("\n") == 0
    assert "colours" not in models.REGISTRY


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda pixels: logits(pixels) * CHANCE.random(), r"\d+%"),
        (lambda pixels: logits(pixels) / pixels.std(), r"\d+%"),
        (lambda pixels: logits(pixels).squeeze(), r"\(3,\)"),
        (lambda pixels: logits(pixels) + CHANCE.normal(0, 1e-3), ""),
    ],
)
def test_answers_that_change_get_a_sentence_when_the_model_is_added(
    function: Any, said: str, recwarn: pytest.WarningsRecorder
) -> None:
    api.add_model("colours", function, **DESCRIBED, output="logits")
    api.load_model("colours")
    found = [str(each.message) for each in recwarn if each.category is ModelWarning]
    assert len(found) == bool(said)
    assert all(re.search(f"^colours .*{said}", text) for text in found)


def test_an_object_that_is_no_model_gets_a_sentence() -> None:
    with pytest.raises(ParameterError, match="got int"):
        api.add_model("colours", 3, **DESCRIBED)
    api.add_model("colours", logits, **DESCRIBED)
    with pytest.raises(ParameterError, match="bundled model has that name"):
        api.add_model("SqueezeNet", logits, **DESCRIBED)


# --- limits ---------------------------------------------------------------------------------------


IMAGES = np.arange(10, dtype=np.float32)[:, None, None, None] * np.ones((1, 2, 2, 3), np.float32)


def test_calls_hold_no_more_images_than_they_may() -> None:
    sizes: list[int] = []

    def function(pixels: Floats) -> Floats:
        sizes.append(len(pixels))
        return logits(pixels)

    answers: list[Any] = Caller(function, CallOptions(batch=4)).answers(IMAGES)
    assert np.array_equal(answers, logits(IMAGES))
    assert sizes == [4, 4, 2]


def test_a_call_that_is_late_counts_until_it_ends() -> None:
    running, most, over = [0], [0], threading.Event()

    def function(pixels: Floats) -> Floats:
        running[0] += 1
        most[0] = max(most[0], running[0])
        over.wait(240)
        running[0] -= 1
        return logits(pixels)

    caller = Caller(function, CallOptions(batch=1, timeout=0.05))
    late = caller.answers(IMAGES[:3])
    assert [str(answer)[:21] for answer in late] == ["no answer within 0.05"] * 3
    assert most == running == [1]
    over.set()
    deadline = time.monotonic() + 60
    while not isinstance(caller.answers(IMAGES[:1])[0], np.ndarray):
        assert time.monotonic() < deadline
    assert most[0] == 1


def test_one_image_without_an_answer_leaves_the_others_theirs() -> None:
    def function(pixels: Floats) -> Floats:
        if 3 in pixels:
            raise ValueError("refused by the filter")
        return logits(pixels)

    found: list[Any] = Caller(function, CallOptions(batch=8)).answers(IMAGES)
    assert found[3] == "ValueError: refused by the filter"
    assert np.array_equal([*found[:3], *found[4:]], logits(np.delete(IMAGES, 3, axis=0)))


def test_a_first_call_that_is_late_is_made_again() -> None:
    calls: list[int] = []

    def function(pixels: Floats) -> Floats:
        calls.append(len(pixels))
        if len(calls) == 1:
            time.sleep(1.5)
        return logits(pixels)

    answers: list[Any] = Caller(function, CallOptions(timeout=1)).answers(IMAGES)
    assert np.array_equal(answers, logits(IMAGES))


# --- models.toml ----------------------------------------------------------------------------------

MODULE = """
import numpy as np

def ask(pixels):
    return np.repeat(pixels.mean((1, 2, 3))[:, None], 10, 1) * np.arange(10) - {}
"""


def described(folder: Path, module: str, text: str, **changes: Any) -> models.ModelRecord:
    (folder / f"{module}.py").write_text(text)
    values = {"path": None, "function": f"{module}:ask", "output": "logits", **changes}
    describe(folder, **values)
    own.refresh()
    return models.REGISTRY["digits"]


def test_a_function_is_loaded_by_the_name_of_its_module(models_folder: Path) -> None:
    record = described(models_folder, "answers_of_one", MODULE.format(1), batch=2)
    assert models.state(record).ready
    before, path = models.digest(record), list(sys.path)
    classifier = api.load_model("digits")
    assert sys.path == path
    assert classifier(colour(0.5, 0.5, 0.5)).probabilities.argmax() == 9
    changed = described(models_folder, "answers_of_one", MODULE.format("50 * np.eye(10)[9]"))
    assert models.digest(changed) != before
    assert api.load_model("digits")(colour(0.5, 0.5, 0.5)).probabilities.argmax() == 8
    assert models.digest(described(models_folder, "answers_of_one", MODULE.format(1), version="2"))


@pytest.mark.parametrize(
    ("module", "text", "said"),
    [
        ("answers_of_none", "", "has no 'ask'"),
        ("answers_of_two", "import no_such_module", "ModuleNotFoundError"),
        ("answers_of_three", "raise SystemExit(3)", "SystemExit"),
        ("answers_of_four", "def ask(pixels): return pixels", "expected answers of shape"),
    ],
)
def test_a_module_without_a_model_gets_a_sentence(
    models_folder: Path, module: str, text: str, said: str
) -> None:
    described(models_folder, module, text)
    with pytest.raises(WeightsError, match=said):
        api.load_model("digits")


def test_a_random_function_of_models_toml_gets_a_sentence_when_it_is_loaded(
    models_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    talkative = "(print('asked'), np.random.random(10))[1]"
    described(models_folder, "answers_at_random", MODULE.format(talkative))
    with pytest.warns(ModelWarning, match=r"^digits .*\d+%"):
        api.load_model("digits")
    LOADED.release()
    capsys.readouterr()
    assert main.main(["predict", "sample:coffee", "--models", "digits", "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["predictions"], "what a model prints is no part of the document"
    assert "asked" in printed.err
    told = [line for line in printed.err.splitlines() if "%" in line]
    assert len(told) == 1
    assert told[0].startswith("robustness: digits ")


# --- runs -----------------------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(10):
        grey = np.full((224, 224, 3), 20 * number + 10, np.uint8)
        grey[..., number % 3] += 40
        Image.fromarray(grey).save(folder / f"{number}.png")
    return folder


def performed(plan: Callable[[], runs.Plan], out: Path, *, resume: bool) -> runs.Run:
    with runs.start(plan(), out, resume=resume) as sitting:
        for _ in () if sitting.finished else sitting.perform():
            pass
    return runs.load(sitting.folder)


@pytest.mark.parametrize("rows", [1, 1000], ids=["many files", "one file"])
def test_an_image_without_an_answer_is_listed_and_asked_about_when_the_run_is_resumed(
    rows: int,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writer, "ROWS_A_FILE", rows)
    answering, counted = [True], [0]
    number, colour = 4, (90, 130, 90)

    def function(pixels: Floats) -> Floats:
        counted[0] += len(pixels)
        refused = np.abs(255 * pixels[:, 0, 0] - colour).max(axis=1) < 0.1
        if not answering[0] and refused.any():
            raise ConnectionError("no route")
        return logits(pixels)

    api.add_model("colours", function, **DESCRIBED)
    spec = api.make_spec(["colours"], perturbations=["contrast", "brightness"])

    def plan() -> runs.Plan:
        return runs.plan(str(photos), spec, batch=1)

    whole = performed(plan, tmp_path / "whole", resume=False)
    answering[0] = False
    run = performed(plan, tmp_path / "runs", resume=False)
    assert run.finished
    ((name, reason),) = run.unreadable
    assert name == f"{number}.png"
    assert "ConnectionError: no route" in reason
    assert run.images == 9

    counted[0] = 0
    assert len(performed(plan, tmp_path / "runs", resume=True).unreadable) == 1
    answering[0] = True
    again = performed(plan, tmp_path / "runs", resume=True)
    assert (again.id, again.finished, again.unreadable) == (run.id, True, [])
    assert again.table().equals(whole.table())
    asked_before = counted[0]
    performed(plan, tmp_path / "runs", resume=True)
    assert counted[0] == asked_before


class _Service(ThreadingHTTPServer):
    """Answers with logits, but for the requests whose numbers, from 1 on, are in ``failing``."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests = 0
        self.failing: Sequence[int] = ()

    def ask(self, pixels: Floats) -> Any:
        address = f"http://127.0.0.1:{self.server_port}"
        try:
            with urlopen(Request(address, data=pixels.tobytes())) as answer:
                return json.load(answer)
        except HTTPError as error:
            error.close()
            raise


class _Handler(BaseHTTPRequestHandler):
    server: _Service

    def do_POST(self) -> None:
        self.server.requests += 1
        pixels = np.frombuffer(self.rfile.read(int(self.headers["Content-Length"])), np.float32)
        if self.server.requests in self.server.failing:
            self.send_error(503)
            return
        self.send_response(200)
        self.end_headers()
        answers = logits(pixels.reshape(-1, 16, 16, 3))
        self.wfile.write(json.dumps(answers.tolist()).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("batch", "failing"),
    [(1, [1]), (1, [1, 2, 3]), (16, [1, 2, 3]), (16, range(3, 18)), (1, [10])],
    ids=["first", "first three", "first batch", "bundled photographs", "tenth"],
)
def test_a_service_that_fails_is_asked_again_whichever_call_it_is(
    batch: int, failing: Sequence[int], photos: Path, tmp_path: Path
) -> None:
    service = _Service()
    with running(service):
        api.add_model("colours", service.ask, batch=batch, **DESCRIBED)
        spec = api.make_spec(["colours"], perturbations=["contrast"])
        plan = runs.plan(str(photos), spec, batch=5)
        LOADED.release()
        service.requests = 0
        service.failing = failing
        run = performed(lambda: plan, tmp_path / "failing", resume=False)
        assert service.requests >= max(failing)
        service.failing = ()
        whole = performed(lambda: plan, tmp_path / "whole", resume=False)
    assert run.unreadable == []
    assert run.table().equals(whole.table())


def test_a_model_without_answers_for_the_bundled_photographs_ends_the_run(
    photos: Path, tmp_path: Path
) -> None:
    is_strict = False

    def function(pixels: Floats) -> Floats:
        is_dim_photograph = pixels.mean(axis=(1, 2, 3)) < 0.4
        is_dim_photograph &= pixels.std(axis=(1, 2)).max(axis=1) > 0.1
        if is_strict and is_dim_photograph.any():
            raise ValueError("too dim")
        return logits(pixels)

    api.add_model("colours", function, **DESCRIBED)
    is_strict = True
    spec = api.make_spec(["colours"], perturbations=["brightness"])
    plan = runs.plan(str(photos), spec, batch=1)
    with pytest.raises(WeightsError, match=r"bundled photographs"):
        performed(lambda: plan, tmp_path / "runs", resume=False)


def test_jobs_and_clusters_refuse_what_only_this_process_has(photos: Path, tmp_path: Path) -> None:
    api.add_model("colours", logits, **DESCRIBED)
    plan = runs.plan(str(photos), api.make_spec(["colours"], perturbations=["contrast"]))
    with pytest.raises(ParameterError, match=r"a job.*module:name"):
        jobs.submit(plan, tmp_path / "runs", "somebody")
    with pytest.raises(ParameterError, match="Ray cluster"):
        next(runs.ray.chunks(plan, [0], None))


def test_a_model_added_again_takes_the_place_of_the_first() -> None:
    api.add_model("colours", logits, **DESCRIBED)
    api.load_model("colours")
    api.add_model("colours", lambda pixels: -logits(pixels), **DESCRIBED)
    assert "colours" not in LOADED.names()
    own.refresh()
    assert api.load_model("colours")(colour(0.9, 0.5, 0.1)).probabilities.argmax() == 2


def test_the_latency_of_a_function_is_that_of_its_earlier_calls() -> None:
    calls_made = []

    def service(pixels: Floats) -> Floats:
        calls_made.append(len(pixels))
        time.sleep(0.02)
        return logits(pixels)

    api.add_model("colours", service, **DESCRIBED)
    model = api.load_model("colours")
    before = len(calls_made)
    assert (pass_milliseconds(model) or 0) >= 1000 * 0.02 / max(calls_made)
    assert len(calls_made) == before, "a service may charge for each call"


def test_a_file_is_loaded_when_it_is_added(models_folder: Path) -> None:
    describe(models_folder)
    (models_folder / "digits.onnx").write_bytes(small_model())
    (models_folder / "digits.pt").write_bytes(b"weights")
    told: dict[str, Any] = {"input_size": [8, 8], "normalisation": "0..1", "output": "logits"}
    api.add_model("mine", models_folder / "digits.onnx", labels=DIGITS, **told)
    for path, labels, said in (
        ("none.onnx", DIGITS, "none.onnx"),
        ("digits.onnx", DIGITS[:9], "10 outputs; its labels name 9 classes"),
        ("digits.pt", DIGITS, "It holds weights alone"),
        ("digits.onnx", DIGITS[:1], "^Expected labels of other to be two or more .* got 1"),
        ("digits.onnx", set(DIGITS), "labels: expected"),
    ):
        with pytest.raises(RobustnessError, match=said):
            api.add_model("other", models_folder / path, labels=labels, **told)  # type: ignore[arg-type]
        assert "other" not in models.REGISTRY
    with pytest.raises(ParameterError, match="batch with a function"):
        api.add_model("other", models_folder / "digits.onnx", labels=DIGITS, batch=2, **told)
    with pytest.raises(ParameterError, match="Did you mean 'normalisation'"):
        api.add_model("other", models_folder / "digits.onnx", labels=DIGITS, normalization="0..1")
    with pytest.raises(ParameterError, match="weights with"):
        api.add_model("other", logits, weights="weights.safetensors", **DESCRIBED)


def test_a_model_is_removed_from_the_process_or_from_the_file(models_folder: Path) -> None:
    describe(models_folder)
    assert "digits" in api.model_names(ready=False), "without another call before"
    api.add_model("colours", logits, **DESCRIBED)
    for name in ("colours", "digits"):
        assert name in api.model_names(ready=False)
        api.remove_model(name)
        own.refresh()
        assert name not in api.model_names(ready=False)
        with pytest.raises(UnknownNameError):
            api.remove_model(name)
