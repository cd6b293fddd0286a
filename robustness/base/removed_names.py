"""Names that are gone, each with what to use instead; whoever writes one reads that sentence.

The names stand here and in the tests alone.
"""

from __future__ import annotations

from collections.abc import Mapping

COMMANDS: Mapping[str, str] = {
    "runs card": "use report RUN --to FILE.md",
    "replay": "use evaluate --request RUN --fresh, then runs compare",
    "models verify": "use models check",
    "models convert": "use models check",
    "plugins check": "call robustness.plugins.laws.check with the name of the loaded plugin",
    "runs export": "copy the folder of the run",
    "runs import": "copy the folder of the run into the folder of runs, or name its path",
}
"""Commands, such as ``runs list``."""

OPTIONS: Mapping[str, str] = {
    "--until": "use --sample or --limit",
    "--unit": "use --sample or --limit",
    "--margin": "use that of choose",
    "--use": "a threshold in use belongs to a browser; open the run on the Evaluations page and "
    "choose Use on One image under Trust",
    "--repeats": "use --seed; a random perturbation has one draw, scaled by the strength",
    "--workers": "the time on a cluster is known once it runs",
    "harden --suite": "use --perturbations or --run; training for a camera had no significant gain",
}
"""Options of commands, with their dashes; after the name of a command, those of that one alone."""

_IN_THE_FUNCTION = {
    "retries": "repeat a failed call in the function, as docs/own-models.md shows",
    "per_second": "wait between calls in the function",
    "cache": "keep answers in the function",
    "concurrency": "call the service for several images at a time in the function",
}

ARGUMENTS: Mapping[str, str] = {
    "until": "use sample or limit",
    "unit": "use sample or limit",
    "margin": "use that of choose",
    "repeats": "use seed; a random perturbation has one draw, scaled by the strength",
    **_IN_THE_FUNCTION,
}
"""Arguments of Python functions."""

KEYS: Mapping[str, str] = {**_IN_THE_FUNCTION}
"""Keys of TOML files."""


def removal(names: Mapping[str, str], name: str) -> str:
    """What to use instead of ``name``, one of ``names``; "" if it is no such name."""
    return f"{name} is gone: {names[name]}" if name in names else ""
