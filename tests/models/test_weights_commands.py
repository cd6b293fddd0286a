"""``models download``, damaged and missing weights, and the download on a page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from robustness import models
from robustness.cli import main
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
    server.faults = [status(404)] * 3
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


# --- on a page ------------------------------------------------------------------------------------


def page() -> None:
    from robustness import models
    from robustness.ui.models import download_button

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
