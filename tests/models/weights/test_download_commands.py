"""``models download`` and ``models verify``, and the download on a page."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from robustness import models
from robustness.base import settings
from robustness.commands import main
from robustness.models.weights.sources import preset, user_file
from tests.conftest import register
from tests.support.download_server import (
    CONTENT,
    FIRST,
    SECOND,
    Server,
    files_left,
    final_path,
    server,
    status,
)

__all__ = ["server"]

Capture = pytest.CaptureFixture[str]


# --- models download ------------------------------------------------------------------------------


def test_the_command_downloads_every_name(server: Server, capsys: Capture) -> None:
    assert main.main(["models", "download", FIRST, SECOND, FIRST]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [f"{name}: {final_path(name)}" for name in (FIRST, SECOND)]
    assert err.splitlines()[0] == f"{FIRST}: 0.0 of 0.3 MB (0%)"
    assert "0.3 of 0.3 MB" in err
    assert "MB/s" in err
    assert "(100%)" in err
    assert files_left() == sorted(final_path(name).name for name in (FIRST, SECOND))


def test_a_group_is_downloaded_into_a_folder(
    server: Server, capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first, second = models.REGISTRY[FIRST], models.REGISTRY[SECOND]
    modern = replace(second, group=models.MODERN)
    monkeypatch.setattr(
        models.REGISTRY,
        "_records",
        {FIRST: first, SECOND: modern, "SqueezeNet": models.REGISTRY["SqueezeNet"]},
    )
    usb = tmp_path / "usb"
    assert main.main(["models", "download", "--group", "modern", "--to", str(usb), "--json"]) == 0
    path = usb / final_path(SECOND).name
    assert json.loads(capsys.readouterr().out) == [
        {"name": SECOND, "path": str(path), "bytes": len(CONTENT), "ok": True, "reason": ""}
    ]
    assert main.main(["models", "download", "--group", "all", "--to", str(usb)]) == 0
    names = [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert names == [FIRST, SECOND]
    assert len(server.paths) == 2


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([FIRST, "ResNet5"], "Did you mean 'ResNet50'"),
        ([FIRST, "SqueezeNet"], "come as part of the dashboard"),
    ],
)
def test_the_command_checks_every_name_before_the_first_download(
    server: Server, capsys: Capture, names: list[str], said: str
) -> None:
    assert main.main(["models", "download", *names]) == 2
    assert said in capsys.readouterr().err
    assert server.paths == []


def test_one_that_fails_does_not_stop_the_others(server: Server, capsys: Capture) -> None:
    server.faults = [status(404)]
    assert main.main(["models", "--json", "download", FIRST, SECOND]) == 2
    out, err = capsys.readouterr()
    failed, fetched = json.loads(out)
    assert (failed["name"], failed["ok"], failed["path"], failed["bytes"]) == (
        FIRST,
        False,
        None,
        None,
    )
    assert "404 Not Found" in failed["reason"]
    assert f"robustness: {failed['reason']}" in err.splitlines()
    assert "Traceback" not in err
    assert (fetched["ok"], fetched["path"]) == (True, str(final_path(SECOND)))
    assert main.main(["models", "download", FIRST]) == 0


# --- models verify --------------------------------------------------------------------------------


def verified(capsys: Capture, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    exit_status = main.main(["models", "verify", "--json", *arguments])
    return exit_status, json.loads(capsys.readouterr().out)


def test_every_file_is_read_again(server: Server, capsys: Capture) -> None:
    main.main(["models", "download", FIRST])
    before = final_path().stat()
    capsys.readouterr()
    found = [{"name": FIRST, "state": "ok", "path": str(final_path()), "reason": ""}]
    assert verified(capsys, FIRST) == (0, found)
    assert models.state(models.REGISTRY[FIRST]).ready
    final_path().write_bytes(b"?" + CONTENT[1:])
    assert main.main(["models", "verify", FIRST, SECOND]) == 1
    out, _ = capsys.readouterr()
    assert before.st_size == final_path().stat().st_size
    assert out.splitlines() == [
        f"{FIRST:18}{'damaged':24}{final_path()} (its MD5 differs from the published one)",
        f"{SECOND:18}{'missing':24}{final_path(SECOND)}",
    ]
    assert verified(capsys, SECOND)[0] == 0, "what is missing is not damaged"


def test_all_kinds_of_models_are_verified(
    server: Server, capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small = preset(
        handle="keras/small/keras/small_preset/1",
        files=("config.json", "model.weights.h5"),
        load=lambda network, folder: network,
        requires=("not_installed_anywhere", "requirements-hub.txt"),
    )
    own = models.UserFile(tmp_path / "own.keras", "logits", ())
    record = models.REGISTRY[FIRST]
    register(monkeypatch, replace(record, name="Small", weights=small))
    register(monkeypatch, replace(record, name="Own", weights=user_file(own)))
    assert verified(capsys, "Own")[1][0]["state"] == "missing"
    with zipfile.ZipFile(own.path, "w") as archive:
        archive.writestr("config.json", "{}")
    folder = settings.cache_folder() / "weights" / "small_preset"
    folder.mkdir(parents=True)
    (folder / "config.json").write_bytes(b"{}")
    exit_status, rows = verified(capsys, "SqueezeNet", "Own", "Small")
    assert exit_status == 1
    assert [row["state"] for row in rows] == [
        "ok",
        "ok, no published hash",
        "ok, no published hash",
        "damaged",
    ]
    assert rows[3]["path"] == str(folder / "model.weights.h5")
    (folder / "model.weights.h5").write_bytes(b"weights")
    (folder / "SHA256SUMS").write_text("0" * 64 + "  config.json\n")
    rows = verified(capsys, "Small")[1]
    assert [row["reason"] for row in rows] == [
        "its SHA256 differs from the listed one",
        "the list of sums next to it lacks it",
    ]


def test_without_names_every_model_is_verified(server: Server, capsys: Capture) -> None:
    exit_status, rows = verified(capsys)
    assert exit_status == 0
    assert {row["name"] for row in rows} == set(models.REGISTRY.names)
    assert main.main(["models", "verify", "vgg16"]) == 2
    assert "Did you mean 'VGG16'" in capsys.readouterr().err


# --- on a page ------------------------------------------------------------------------------------


def page() -> None:
    from robustness import models
    from robustness.ui.models.cards import download_button

    download_button(models.REGISTRY["VGG16"])
    download_button(models.REGISTRY["SqueezeNet"])


def test_the_button_fetches_and_is_gone(server: Server) -> None:
    app = AppTest.from_function(page, default_timeout=240).run()
    assert [button.key for button in app.button] == ["download_VGG16"]
    assert app.button[0].label == "Download 0.3 MB"
    app.button(key="download_VGG16").click().run()
    assert not app.exception
    assert not app.button
    assert final_path().read_bytes() == CONTENT
