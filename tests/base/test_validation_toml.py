"""TOML files: read once as long as they do not change, and refused in a sentence."""

from __future__ import annotations

import os
import time
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
        (b"a = ", "is not valid TOML: "),
        (b"a = '\xff'", "is not valid TOML: it is not UTF-8"),
        (None, "cannot be read: No such file"),
        (b"a = " + b"[" * 5000, "is not valid TOML: it is nested more than 16 deep"),
        (b"a" + b".a" * 32000 + b" = 1", "is not valid TOML: it is nested more than 16 deep"),
        (b"[a" + b".a" * 15 + b"]\nb = {c = 1}", "is not valid TOML: it is nested more than 16"),
        (b'"\\' * 30000, "is not valid TOML: "),
        (b"a = " + b"9" * 5000, "is not valid TOML: it has an integer of more than 64 bits"),
        (b"#" * (MAX_BYTES + 1), "cannot be read: its 65,537 bytes are more than"),
    ],
    ids=[
        *("cut short", "no UTF-8", "missing", "brackets", "dots", "dots and braces"),
        *("open strings", "digits", "large"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_sentence(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    file = tmp_path / "some.toml"
    if content is not None:
        file.write_bytes(content)
    began = time.process_time()
    with pytest.raises(ParameterError, match=said) as caught:
        read_toml(file)
    assert time.process_time() - began < 1, "a hostile file costs no time either"
    assert str(caught.value).startswith(str(file))
    assert str(caught.value).endswith(".")


def test_dots_in_strings_and_comments_are_no_depth(tmp_path: Path) -> None:
    dots = "." * 40
    texts = [f'"{dots}\\""', f"'{dots}'", f'"""{dots}\n""{dots}"""', f"'''{dots}''{dots}'''"]
    file = tmp_path / "some.toml"
    file.write_text("".join(f"a{at} = {text} # {dots}\n" for at, text in enumerate(texts)))
    read = [dots + '"', dots, f'{dots}\n""{dots}', f"{dots}''{dots}"]
    assert list(read_toml(file).values()) == read


def test_neither_a_pipe_nor_a_folder_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    with pytest.raises(ParameterError, match=r"cannot be read: it is a pipe or device\."):
        read_toml(tmp_path / "pipe.toml")
    with pytest.raises(ParameterError, match=r"cannot be read: it is a folder\."):
        read_toml(tmp_path)
