"""Settings: where they come from, which goes first, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from robustness.base import settings
from robustness.base.errors import ParameterError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, no variable set."""
    for setting in settings.REGISTRY:
        monkeypatch.delenv(setting.variable, raising=False)
    monkeypatch.delenv("ROBUSTNESS_CONFIG", raising=False)
    monkeypatch.setattr(settings, "config_folder", lambda: tmp_path / "of the user")
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".streamlit").mkdir()
    return tmp_path


def secrets(folder: Path, text: str) -> None:
    (folder / ".streamlit" / "secrets.toml").write_text(text, encoding="utf-8")


def test_a_variable_goes_before_the_file_and_the_file_before_the_secrets(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings.value(settings.WEIGHTS_MIRROR) is None
    secrets(folder, 'other = 1\n[robustness]\nweights_mirror = "https://third.example"\n')
    assert settings.value(settings.WEIGHTS_MIRROR) == "https://third.example"
    mark = b"\xef\xbb\xbf"  # which an editor put in front
    (folder / "robustness.toml").write_bytes(mark + b'weights_mirror = "https://second.example"\n')
    assert settings.value(settings.WEIGHTS_MIRROR) == "https://second.example"
    monkeypatch.setenv("ROBUSTNESS_WEIGHTS_MIRROR", "https://first.example")
    assert settings.value(settings.WEIGHTS_MIRROR) == "https://first.example"
    monkeypatch.setenv("ROBUSTNESS_WEIGHTS_MIRROR", "")
    assert settings.value(settings.WEIGHTS_MIRROR) == "https://second.example", "empty is not set"


def test_the_file_of_the_user_holds_in_every_folder_and_goes_last(folder: Path) -> None:
    of_user = folder / "of the user"
    of_user.mkdir()
    (of_user / "robustness.toml").write_text('weights_dir = "w"\nmemory = "4GB"\n')
    assert settings.value(settings.WEIGHTS_DIR) == of_user / "w"
    secrets(folder, '[robustness]\nweights_dir = "s"\n')
    assert settings.value(settings.WEIGHTS_DIR) == folder / ".streamlit" / "s"
    assert settings.value(settings.MEMORY) == 4 * 10**9
    (of_user / "robustness.toml").write_text("colour = 1\n")
    with pytest.raises(ParameterError, match="there is no setting 'colour'"):
        settings.value(settings.MEMORY)


def test_a_relative_path_is_relative_to_its_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "etc").mkdir()
    (folder / "etc" / "mine.toml").write_text('weights_dir = "w"\ncache = "/somewhere"\n')
    monkeypatch.setenv("ROBUSTNESS_CONFIG", "etc/mine.toml")
    assert settings.value(settings.WEIGHTS_DIR) == folder / "etc" / "w"
    assert settings.cache_folder() == Path("/somewhere")
    secrets(folder, '[robustness]\nmodels = "m.toml"\n')
    assert settings.value(settings.MODELS) == folder / ".streamlit" / "m.toml"
    monkeypatch.setenv("ROBUSTNESS_MODELS", "here.toml")
    assert settings.value(settings.MODELS) == folder / "here.toml"


def test_a_switch_and_a_list_are_read_as_toml_and_as_text(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = folder / "robustness.toml"
    assert not settings.value(settings.LOGIN)
    assert settings.value(settings.OWNERS) is None
    for on in ("true", '"on"', '"On"', "1"):
        file.write_text(f'login = {on}\nowners = ["a@b.example", "*@c.example"]\n')
        assert settings.value(settings.LOGIN)
        assert settings.value(settings.OWNERS) == ("a@b.example", "*@c.example")
    file.write_text('login = false\nowners = "a@b.example,*@c.example,"\n')
    assert not settings.value(settings.LOGIN)
    assert settings.value(settings.OWNERS) == ("a@b.example", "*@c.example")
    monkeypatch.setenv("ROBUSTNESS_LOGIN", "perhaps")
    with pytest.raises(ParameterError, match="'login': expected on or off, got 'perhaps'"):
        settings.value(settings.LOGIN)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("memory", "4GB", 4_000_000_000),
        ("memory", " 1.5 KiB ", 1536),
        ("memory", "4 GB or so", None),
        ("memory", "9" * 400 + "GB", None),
        ("jobs", "3", 3),
        ("jobs", "0", None),
        ("download_timeout", "2.5", 2.5),
        ("download_timeout", "nan", None),
        ("download_timeout", "100000", None),
        ("job_priority", "Idle", "idle"),
        ("job_priority", "lazy", None),
    ],
)
def test_a_value_is_read_as_its_kind_or_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, expected: object
) -> None:
    setting = settings.REGISTRY[name]
    monkeypatch.setenv(setting.variable, text)
    if expected is not None:
        assert settings.value(setting) == expected
        return
    with pytest.raises(ParameterError, match=f"'{name}': expected .*, got ") as caught:
        settings.value(setting)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("memory = \n", "not valid TOML"),
        ('memroy = "1GB"\n', r"no setting 'memroy'. Did you mean 'memory'\? Known: weights_dir, "),
        ("memory = true\n", "expected memory to be a text, got True"),
        ('memory = ["1GB"]\n', "expected memory to be a text"),
    ],
)
def test_a_bad_file_is_refused_in_one_sentence(folder: Path, text: str, said: str) -> None:
    (folder / "robustness.toml").write_text(text)
    with pytest.raises(ParameterError, match=said) as caught:
        settings.check_usable()
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)
    (folder / "robustness.toml").unlink()
    secrets(folder, "robustness = 3\n")
    with pytest.raises(ParameterError, match=r"expected a table \[robustness\]"):
        settings.check_usable()


def test_a_path_that_is_none_is_refused_before_it_is_used(folder: Path) -> None:
    (folder / "robustness.toml").write_text('weights_dir = "~nobody-here/weights"\n')
    with pytest.raises(ParameterError, match="names a user without a home") as caught:
        settings.check_usable()
    assert str(caught.value).endswith(".")
    (folder / "robustness.toml").write_text('weights_dir = "~/weights"\n')
    assert settings.value(settings.WEIGHTS_DIR) == Path.home() / "weights"


def test_a_named_file_that_is_not_there_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBUSTNESS_CONFIG", "nowhere.toml")
    with pytest.raises(ParameterError, match=r"names 'nowhere\.toml', which is not a file"):
        settings.check_usable()
