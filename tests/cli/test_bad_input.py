"""What the command line makes of bad input: one sentence, exit status 2, nothing on stdout."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.support.repository import ROOT
from robustness.cli.main import EXIT_BAD_INPUT, EXIT_INTERRUPTED, main
from robustness.images.decoding import sample_path
from robustness.perturbations import REGISTRY
from tests.support.bad_images import BAD
from tests.support.console import check_sentence

# pytest replaces the filter that the product installs for Pillow's warnings.
pytestmark = pytest.mark.filterwarnings("ignore:::PIL")

COFFEE = str(sample_path("coffee"))

Refused = Callable[..., str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """Runs a command that must fail, checks how it fails, and returns its sentence."""

    def call(*arguments: str | Path) -> str:
        status = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert (status, out) == (EXIT_BAD_INPUT, "")
        check_sentence(err)
        return err

    return call


def perturb_arguments(image: str | Path, out: Path, **changes: str) -> list[str]:
    options = {"perturbation": "gaussian_noise", "strength": "0.5", "to": str(out), **changes}
    return ["perturb", str(image), *(f"--{name}={value}" for name, value in options.items())]


# --- images -------------------------------------------------------------------------------------

REFUSED = (*("text", "truncated JPEG", "30,000 x 30,000 PNG, header"),)
"""Some of what ``tests/pictures`` has refused."""


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_picture_is_refused_by_every_command(
    refused: Refused, tmp_path: Path, name: str
) -> None:
    picture, out = tmp_path / "holiday.jpg", tmp_path / "made" / "out.png"
    picture.write_bytes(BAD[name]())
    for arguments in (
        perturb_arguments(picture, out),
        ["predict", str(picture), "--models", "SqueezeNet", "--json"],
        ["study", COFFEE, str(picture), "--models", "SqueezeNet", "--json", f"--out={out}"],
    ):
        assert "holiday.jpg" in refused(*arguments)
    assert not out.parent.exists()


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nothing-here.jpg", "does not exist"),
        (".", "is a folder"),
        ("", "does not exist"),
        ("none\nsuch\x1b[31m.jpg", "does not exist"),
    ],
)
def test_a_path_without_a_picture_is_refused(
    refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in (
        perturb_arguments(path, tmp_path / "out.png"),
        ["predict", path, "--models", "SqueezeNet"],
        ["study", path, "--models", "SqueezeNet"],
    ):
        sentence = refused(*arguments)
        assert words in sentence
        assert "\x1b" not in sentence


# --- names and numbers ----------------------------------------------------------------------------

BAD_OPTIONS = [
    ("strength", "-0.1", r"between 0 (no change) and 1 (strongest), got -0.1."),
    ("strength", "1.5", "got 1.5."),
    ("strength", "nan", "got nan."),
    ("strength", "inf", "got inf."),
    ("seed", "-1", "A seed must be a whole number from 0 to 4294967295, got -1."),
    ("seed", "4294967296", "got 4294967296."),
    ("fit", "stretch", "There is no fit called 'stretch'. Known: crop, squash, letterbox."),
]


@pytest.mark.parametrize(("option", "value", "words"), BAD_OPTIONS)
def test_a_value_out_of_range_is_refused(
    refused: Refused, tmp_path: Path, option: str, value: str, words: str
) -> None:
    out = tmp_path / "out.png"
    assert words in refused(*perturb_arguments(COFFEE, out, **{option: value}))
    assert not out.exists()
    study = ("study", COFFEE, "--models=SqueezeNet", "--perturbations=fog", f"--{option}={value}")
    assert words in refused(*study, "--json")
    if option == "seed":
        hardened = ("harden", "SqueezeNet", "--images=samples", "--name=X", "--perturbations=fog")
        for command in (hardened, ("match", "samples", "--reference=samples")):
            assert words in refused(*command, f"--seed={value}")


def test_an_unknown_perturbation_is_refused_with_a_suggestion(
    refused: Refused, tmp_path: Path
) -> None:
    for arguments in (
        perturb_arguments(COFFEE, tmp_path / "out.png", perturbation="gausian_blur"),
        ["study", COFFEE, "--models=SqueezeNet", "--perturbations=fog,gausian_blur"],
    ):
        sentence = refused(*arguments)
        assert "no perturbation called 'gausian_blur'. Did you mean 'gaussian_blur'?" in sentence
        assert ", ".join(REGISTRY.names) in sentence


@pytest.mark.parametrize("command", ["predict", "study", "models download"])
def test_an_unknown_model_is_refused_with_a_suggestion(refused: Refused, command: str) -> None:
    name = "squeezenet"
    arguments = (
        [name] if "download" in command else [COFFEE, "--models", f"EfficientNetLite0,{name}"]
    )
    sentence = refused(*command.split(), *arguments)
    assert "There is no model called 'squeezenet'. Did you mean 'SqueezeNet'?" in sentence
    assert "Known: VGG16, ResNet50," in sentence


# --- where to write -------------------------------------------------------------------------------


def test_a_place_that_cannot_be_written_is_refused(refused: Refused, tmp_path: Path) -> None:
    file, folder = tmp_path / "file", tmp_path / "folder.png"
    file.touch()
    folder.mkdir()
    for out in (file / "out.png", folder):
        sentence = refused(*perturb_arguments(COFFEE, out))
        assert f"{out} cannot be written: " in sentence
        assert "choose another place" in sentence.lower()
    profile = file / "out.toml"
    match = refused("match", "samples", "--reference=samples", f"--out={profile}")
    assert f"{profile} cannot be written: " in match, "before the images are counted"


# --- the parser, and a process of its own ---------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["evalute"], "Did you mean 'evaluate'?"),
        (["predict"], "IMAGE"),
        (["study", "--json"], "IMAGE"),
        (["perturb", COFFEE, "--strength", "1", "--to", "a.png"], "--perturbation"),
        (["perturb", COFFEE, "--perturbation", "fog", "--strength", "strong"], "strong"),
        (["study", COFFEE, "--seed", "1.5"], "1.5"),
        (["predict", COFFEE, "--models", " , "], "expected names"),
        (["study", COFFEE, "--perturbations", ""], "expected names"),
        (["guess"], "guess"),
        (["perturbations", "--jsonn"], "--jsonn. Did you mean '--json'?"),
        (["runs", "compare", "A", "B", "--jsonn"], "see python -m robustness runs compare --help"),
        (
            ["evaluate", ".", "--models", "A", "B"],
            ": B; separate the values of --models with commas",
        ),
        (["evaluate", "--conditions=fog=1", "B", "."], ": .; separate the values of --conditions"),
        (["runs", "delete", "A", "B"], "arguments: B"),
    ],
    ids=" ".join,
)
def test_a_command_that_cannot_be_parsed_is_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    out, err = capsys.readouterr()
    assert (left.value.code, out) == (EXIT_BAD_INPUT, "")
    assert words in err.splitlines()[-1]


def test_an_interruption_ends_with_a_word_and_its_own_status(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("robustness.images.framing.load_picture", interrupted)
    assert main(perturb_arguments(COFFEE, tmp_path / "out.png")) == EXIT_INTERRUPTED == 130
    assert capsys.readouterr() == ("", "robustness: interrupted.\n")


def test_the_process_itself_exits_with_2_and_the_sentence(tmp_path: Path) -> None:
    picture = tmp_path / "letter.png"
    picture.write_bytes(BAD["text"]())
    done = subprocess.run(
        [sys.executable, "-m", "robustness", *perturb_arguments(picture, tmp_path / "out.png")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    check_sentence(done.stderr)
    assert "got text" in done.stderr


@pytest.mark.parametrize(
    ("weights", "said"),
    [("fog=-1", "0 or more"), ("fog=nan", "0 or more"), ("fog=1,fog=2", "'fog' twice")],
)
def test_weights_that_make_no_sense_are_refused(
    weights: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["choose", "RUN", "--weights", weights])
    assert ended.value.code == EXIT_BAD_INPUT
    assert said in capsys.readouterr().err


def test_a_bad_file_of_settings_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("robustness.toml").write_text('memroy = "1GB"\n')
    assert main(["models"]) == 2
    assert "robustness.toml" in capsys.readouterr().err
