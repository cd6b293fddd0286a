"""TOML files: read once as long as they do not change, and refused in a sentence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from robustness.base.errors import ParameterError
from robustness.base.toml import MAX_BYTES, read_toml


def test_a_file_is_read_once_until_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "some.toml"
    file.write_text("a = 1\n")
    first = read_toml(file)
    assert first == {"a": 1}
    assert read_toml(file) is first
    file.write_text("a = 22\n")
    assert read_toml(file) == {"a": 22}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a = ", "is not a TOML file: "),
        (b"a = '\xff'", "is not a TOML file: it is not UTF-8"),
        (None, "cannot be read: No such file"),
        (b"a = " + b"[" * 5000, "is not a TOML file: it is nested more than 32 deep"),
        (b"a" + b".a" * 5000 + b" = 1", "is not a TOML file: it is nested more than 32 deep"),
        (b"#" * (MAX_BYTES + 1), "cannot be read: its 1,048,577 bytes are more than"),
    ],
    ids=["cut short", "no UTF-8", "missing", "brackets", "dots", "large"],
)
def test_what_cannot_be_read_is_refused_in_one_sentence(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    file = tmp_path / "some.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ParameterError, match=said) as caught:
        read_toml(file)
    assert str(caught.value).startswith(str(file))
    assert str(caught.value).endswith(".")


def test_neither_a_pipe_nor_a_folder_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    with pytest.raises(ParameterError, match=r"cannot be read: it is a pipe or device\."):
        read_toml(tmp_path / "pipe.toml")
    with pytest.raises(ParameterError, match=r"cannot be read: it is a folder\."):
        read_toml(tmp_path)
