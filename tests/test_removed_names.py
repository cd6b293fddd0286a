"""What is gone is refused by its name, with what to use instead."""

from __future__ import annotations

import pytest

from robustness.base import removed_names
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
    with pytest.raises(SystemExit) as exit_:
        main.main(["evaluate", "samples", option, "1"])
    assert exit_.value.code == main.EXIT_BAD_INPUT
    assert removed_names.OPTIONS[option] in capsys.readouterr().err
