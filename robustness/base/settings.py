"""What the operator of an installation may set: by environment variable or in a TOML file.

A setting is looked for in this order: its environment variable, ``robustness.toml`` in the working
folder (``$ROBUSTNESS_CONFIG`` names another file), and the table ``[robustness]`` of
``.streamlit/secrets.toml``. Relative paths in a file are relative to the folder of that file.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import platformdirs

from robustness.base.disk import Version, version
from robustness.base.errors import ParameterError
from robustness.base.registry import Registry
from robustness.base.text import did_you_mean
from robustness.base.toml import read_toml

CONFIG_VARIABLE = "ROBUSTNESS_CONFIG"
CONFIG_FILE = "robustness.toml"
SECRETS_FILE = Path(".streamlit") / "secrets.toml"
SECRETS_TABLE = "robustness"

ON, OFF = "on", "off"

_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMG]I?B)?", re.IGNORECASE)


@dataclass(frozen=True)
class Setting:
    """A value that the operator may set; ``meaning`` is one line for the README.

    One that ``is_switch`` is on or off, in a file also true or false; of one that ``is_list`` the
    parts stand behind commas, in a file also in brackets.
    """

    name: str
    meaning: str
    is_path: bool = False
    is_switch: bool = False
    is_list: bool = False

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return f"ROBUSTNESS_{self.name.upper()}"


REGISTRY: Registry[Setting] = Registry("setting")


def _setting(name: str, meaning: str, **kind: bool) -> Setting:
    return REGISTRY.add(Setting(name, meaning, **kind))


WEIGHTS_DIR = _setting(
    "weights_dir", "folder in which weight files are looked for first", is_path=True
)
WEIGHTS_MIRROR = _setting("weights_mirror", "URL of such a folder, asked before the official host")
DOWNLOAD_TIMEOUT = _setting(
    "download_timeout", "longest wait for the next bytes of a download, in seconds"
)
CACHE = _setting("cache", "folder of files that the product itself makes or fetches", is_path=True)
MODELS = _setting(
    "models", "file that describes your own models (default: models.toml)", is_path=True
)
RUNS = _setting("runs", "folder in which the dashboard keeps runs (default: runs)", is_path=True)
DATASETS = _setting(
    "datasets", "folder whose sub-folders and archives the dashboard may evaluate", is_path=True
)
MEMORY = _setting("memory", "memory that loaded models may take, such as 4GB (default: half of it)")
JOBS = _setting("jobs", "dataset runs that the dashboard works on at once (default: 1)")
JOB_PRIORITY = _setting(
    "job_priority", "idle: runs work only while nobody else wants the cores (default), or normal"
)
ENGINE = _setting(
    "engine", "what runs forward passes: openvino, or tensorflow (the default with a GPU)"
)
PRECISION = _setting(
    "precision", "f32, or bf16: faster on some processors, and other answers (default: f32)"
)
LOGIN = _setting("login", "on: who uses the dashboard logs in first (default: off)", is_switch=True)
OWNERS = _setting("owners", "who may do everything behind the login", is_list=True)
EVALUATORS = _setting("evaluators", "who may evaluate and attack behind the login", is_list=True)
VIEWERS = _setting("viewers", "who may look and measure behind the login", is_list=True)
USER_ROLE = _setting(
    "user_role", "role of who logged in and stands in no list: none (the default), or one of these"
)
ANONYMOUS_ROLE = _setting(
    "anonymous_role",
    "role of who comes over the network without a login (default: evaluator; with login: none)",
)
LOCAL_ROLE = _setting(
    "local_role", "role of who sits at this machine while login is off (default: owner)"
)
READ_ONLY = _setting(
    "read_only", "on: nothing that is kept is changed (default: off)", is_switch=True
)
HOSTS = _setting(
    "hosts", "names by which browsers may call the dashboard beside localhost", is_list=True
)
METRICS_TOKEN = _setting(
    "metrics_token", "what a scraper on another machine says to read /metrics, as a bearer token"
)
UPLOAD_LIMIT = _setting(
    "upload_limit",
    "largest file that a browser may upload, at most Streamlit's server.maxUploadSize",
)
PICTURES_LIMIT = _setting("pictures_limit", "most pictures that the dashboard evaluates in one run")
DISK_LIMIT = _setting("disk_limit", "what the folder of runs may take before nothing more is begun")
RUNS_KEPT = _setting("runs_kept", "how many runs are kept; older ones go to the bin")
DAYS_KEPT = _setting("days_kept", "how many days a run is kept before it goes to the bin")
BIN_DAYS = _setting("bin_days", "days after which a deleted run is gone for good (default: 7)")
CONTACT = _setting("operator_contact", "whom to ask, said wherever something is refused")

DECODE_MEMORY = _setting(
    "decode_memory", "memory that the decoding of pictures may take at once (default: 800MB)"
)
UPLOADS = _setting(
    "uploads", "room that the uploads of the dashboard may take in all (default: 2GB)"
)


def text(setting: Setting) -> str | None:
    """The value of ``setting`` as given; None where it is set nowhere, or to nothing.

    Raises ``ParameterError`` for a file that is not TOML or holds something unknown.
    """
    for values, _ in _places(setting):
        if values.get(setting.name):
            return values[setting.name]
    return None


def path(setting: Setting) -> Path | None:
    """The value of ``setting`` as an absolute path; None where it is not set.

    Raises ``ParameterError`` as ``text`` and ``located`` do.
    """
    for values, folder in _places(setting):
        if values.get(setting.name):
            return located(values[setting.name], folder)
    return None


def is_on(setting: Setting) -> bool:
    """Whether the switch ``setting`` is on; raises ``ParameterError`` where it is neither."""
    chosen = (text(setting) or OFF).strip().lower()
    if chosen in {ON, "true", "1"}:
        return True
    if chosen in {OFF, "false", "0"}:
        return False
    raise ParameterError(f"The setting {setting.name!r} must be on or off, got {chosen!r}.")


def whole(setting: Setting) -> int | None:
    """The positive whole number that ``setting`` says; None where it is not set.

    Raises ``ParameterError`` for a text that is none.
    """
    chosen = text(setting)
    if chosen is None:
        return None
    if not re.fullmatch(r"[0-9]{1,12}", chosen.strip()) or int(chosen) < 1:
        raise ParameterError(
            f"The setting {setting.name!r} must be a whole number from 1 on, got {chosen!r}."
        )
    return int(chosen)


def parts(setting: Setting) -> tuple[str, ...]:
    """The parts of the list ``setting``, none where it is not set."""
    return tuple(filter(None, (part.strip() for part in (text(setting) or "").split(","))))


def size(setting: Setting) -> int | None:
    """The bytes that ``setting`` says; None where it is not set.

    Raises ``ParameterError`` for a text that is no size.
    """
    chosen = text(setting)
    if chosen is None:
        return None
    match = _SIZE.fullmatch(chosen.strip())
    bytes_ = float(match[1]) * _UNITS[(match[2] or "").upper()] if match else 0.0
    if not 0 < bytes_ < math.inf:
        raise ParameterError(
            f"The setting {setting.name!r} must be a size such as 4GB or 800MB, got {chosen!r}."
        )
    return int(bytes_)


def cache_folder() -> Path:
    """Folder of files that this product makes or fetches: the setting ``cache``, or the user's."""
    return path(CACHE) or platformdirs.user_cache_path("robustness", appauthor=False)


def located(text: str, folder: Path) -> Path:
    """The path that ``text`` of a file in ``folder`` means: relative to that, ``~`` is the home.

    Raises ``ParameterError`` for a text that is no path, or where there is no such home.
    """
    try:
        found = folder / Path(text).expanduser()
    except RuntimeError:
        raise ParameterError(f"{text!r} is not a path: it names a user without a home.") from None
    if "\0" in text:
        raise ParameterError(f"{text!r} is not a path: it holds a character of code 0.")
    return found


def check_usable() -> None:
    """Raises ``ParameterError`` where the settings cannot be read, as every use of them would."""
    for setting in REGISTRY:
        if setting.is_path:
            path(setting)


def _places(asked: Setting) -> list[tuple[Mapping[str, str], Path]]:
    """The places that settings come from, first to last, with the folder of relative paths.

    Of the environment it has the one that is ``asked`` for: every answer of a model asks for some.
    """
    here = os.getcwd()
    named = os.environ.get(CONFIG_VARIABLE)
    versions = [_version(os.path.join(here, file)) for file in (named or CONFIG_FILE, SECRETS_FILE)]
    environment = {asked.name: os.environ.get(asked.variable, "")}
    folder, files = _files(here, named, *versions)
    return [(environment, folder), *files]


def _version(file: str) -> Version | None:
    """That of ``file``; None where there is none."""
    try:
        return version(file)
    except (OSError, ValueError):
        return None


@lru_cache(maxsize=8)
def _files(
    here: str, named: str | None, config_version: Version | None, secrets_version: Version | None
) -> tuple[Path, list[tuple[Mapping[str, str], Path]]]:
    """The folder ``here``, and what the files say, read once as long as they stay the same."""
    folder = Path(here)
    config, secrets = folder / (named or CONFIG_FILE), folder / SECRETS_FILE
    if named and not config.is_file():
        raise ParameterError(f"${CONFIG_VARIABLE} names {named!r}, which is not a file.")
    said = read_toml(config) if config_version else {}
    kept = read_toml(secrets) if secrets_version else {}
    return folder, [
        (_checked(said, config), config.parent),
        (_checked(kept.get(SECRETS_TABLE, {}), secrets), secrets.parent),
    ]


def _checked(values: Any, file: Path) -> Mapping[str, str]:
    """``values`` as texts; raises ``ParameterError`` for an unknown name or an odd value."""
    if not isinstance(values, Mapping):
        raise ParameterError(f"{file}: expected a table [{SECRETS_TABLE}], got {values!r}.")
    for name in values:
        if name not in REGISTRY:
            hint = did_you_mean(name, REGISTRY.names)
            raise ParameterError(f"{file}: there is no setting {name!r}. {hint}.")
    return {name: _as_text(REGISTRY[name], value, file) for name, value in values.items()}


def _as_text(setting: Setting, value: Any, file: Path) -> str:
    if setting.is_switch and isinstance(value, bool):
        return ON if value else OFF
    if setting.is_list and isinstance(value, list) and all(isinstance(v, str) for v in value):
        return ", ".join(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ParameterError(f"{file}: expected {setting.name} to be a text, got {value!r}.")
    return str(value)
