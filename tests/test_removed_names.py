"""What is gone is refused by its name, with what to use instead."""

from __future__ import annotations

from typing import Any

import pytest

import robustness as rb
from robustness.base import removed_names
from robustness.base.errors import ParameterError
from robustness.base.pydantic_validation import StrictTable, checked
from robustness.commands import main


@pytest.mark.parametrize("command", removed_names.COMMANDS)
def test_a_command_that_is_gone_says_what_to_use(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main.main([*command.split(), "x"])
    assert exit_.value.code == main.EXIT_BAD_INPUT
    assert removed_names.COMMANDS[command] in capsys.readouterr().err


@pytest.mark.parametrize("option", removed_names.OPTIONS)
def test_an_option_that_is_gone_says_what_to_use(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    *command, name = option.split()
    with pytest.raises(SystemExit) as exit_:
        main.main([*(command or ["evaluate"]), "samples", name, "1"])
    assert exit_.value.code == main.EXIT_BAD_INPUT
    assert removed_names.OPTIONS[option] in capsys.readouterr().err


@pytest.mark.parametrize("argument", removed_names.ARGUMENTS)
def test_an_argument_that_is_gone_says_what_to_use(argument: str) -> None:
    gone: dict[str, Any] = {argument: 1}
    with pytest.raises(ParameterError) as caught:
        rb.make_spec([], **gone)
    assert removed_names.ARGUMENTS[argument] in str(caught.value)


@pytest.mark.parametrize("key", removed_names.KEYS)
def test_a_key_that_is_gone_says_what_to_use(key: str) -> None:
    with pytest.raises(ParameterError) as caught:
        checked(StrictTable, {key: 1})
    assert removed_names.KEYS[key] in str(caught.value)
