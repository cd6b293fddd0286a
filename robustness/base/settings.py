"""Settings of an installation, from environment variables or TOML files.

The first of these that has a value counts: the environment variable, ``robustness.toml`` in the
working folder (``$ROBUSTNESS_CONFIG`` names another file), the table ``[robustness]`` of
``.streamlit/secrets.toml``. Relative paths in a file are relative to that file's folder.
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
    """A value that the operator may set; ``meaning`` is one line for the documentation.

    A switch (``is_switch``) is on or off, in a file also true or false. A list (``is_list``) is
    separated by commas, in a file also a TOML array.
    """

    name: str
    meaning: str
    is_path: bool = False
    is_switch: bool = False
    is_list: bool = False

    @property
    def variable(self) -> str:
        """The name of its environment variable."""
        return f"ROBUSTNESS_{self.name.upper()}"


REGISTRY: Registry[Setting] = Registry("setting")


def _setting(name: str, meaning: str, **kind: bool) -> Setting:
    return REGISTRY.add(Setting(name, meaning, **kind))


WEIGHTS_DIR = _setting("weights_dir", "folder searched first for weight files", is_path=True)
WEIGHTS_MIRROR = _setting("weights_mirror", "URL of such a folder, tried before the official host")
DOWNLOAD_TIMEOUT = _setting(
    "download_timeout", "longest wait for the next bytes of a download, in seconds (default: 20)"
)
CACHE = _setting("cache", "folder for files that the product creates or fetches", is_path=True)
MODELS = _setting(
    "models", "file that describes your own models (default: models.toml)", is_path=True
)
RUNS = _setting("runs", "folder in which the dashboard keeps runs (default: runs)", is_path=True)
DATASETS = _setting(
    "datasets", "folder whose subfolders and archives the dashboard may evaluate", is_path=True
)
MEMORY = _setting("memory", "memory for loaded models, such as 4GB (default: half of it)")
JOBS = _setting("jobs", "dataset runs in progress at once (default: 1)")
JOB_PRIORITY = _setting(
    "job_priority", "priority of dataset runs: idle (default: only unused cores) or normal"
)
ENGINE = _setting(
    "engine", "engine of forward passes: openvino, or tensorflow (the default with a GPU)"
)
PRECISION = _setting(
    "precision", "f32 (default), or bf16: faster on some processors, with different predictions"
)
LOGIN = _setting("login", "on: users must log in (default: off)", is_switch=True)
OWNERS = _setting("owners", "e-mail addresses of owners, who may do everything", is_list=True)
EVALUATORS = _setting("evaluators", "e-mail addresses that may evaluate and attack", is_list=True)
VIEWERS = _setting("viewers", "e-mail addresses that may look and measure", is_list=True)
USER_ROLE = _setting("user_role", "role of logged-in users in none of these lists (default: none)")
ANONYMOUS_ROLE = _setting(
    "anonymous_role",
    "role of visitors over the network without a login (default: evaluator; with login: none)",
)
LOCAL_ROLE = _setting(
    "local_role", "role of users at this machine while login is off (default: owner)"
)
READ_ONLY = _setting("read_only", "on: nothing stored may change (default: off)", is_switch=True)
HOSTS = _setting("hosts", "host names the dashboard answers to, besides localhost", is_list=True)
METRICS_TOKEN = _setting(
    "metrics_token", "bearer token with which another machine may read /metrics"
)
UPLOAD_LIMIT = _setting(
    "upload_limit",
    "largest upload per file, at most Streamlit's server.maxUploadSize",
)
PICTURES_LIMIT = _setting("pictures_limit", "most images in one run of the dashboard")
DISK_LIMIT = _setting("disk_limit", "disk space of the runs folder above which no new run starts")
RUNS_KEPT = _setting("runs_kept", "number of runs kept of each creator; older ones go to the bin")
DAYS_KEPT = _setting("days_kept", "days after which a run goes to the bin")
BIN_DAYS = _setting("bin_days", "days after which a deleted run is removed for good (default: 7)")
SHARED_DAYS = _setting(
    "shared_days", "days that an uploaded image can be shared by a link (default: never)"
)
CONTACT = _setting("operator_contact", "whom to ask, shown wherever something is refused")

DECODE_MEMORY = _setting("decode_memory", "memory for decoding images (default: 800MB)")
UPLOADS = _setting("uploads", "memory for all uploads together (default: 2GB)")


def text(setting: Setting) -> str | None:
    """The value of ``setting`` as given; None if unset or empty.

    Raises ``ParameterError`` for a file that is not TOML or holds an unknown setting.
    """
    for values, _ in _places(setting):
        if values.get(setting.name):
            return values[setting.name]
    return None


def path(setting: Setting) -> Path | None:
    """The value of ``setting`` as an absolute path; None if unset.

    Raises ``ParameterError`` as ``text`` and ``located`` do.
    """
    for values, folder in _places(setting):
        if values.get(setting.name):
            return located(values[setting.name], folder)
    return None


def is_on(setting: Setting) -> bool:
    """Whether the switch ``setting`` is on; raises ``ParameterError`` for any other value."""
    chosen = (text(setting) or OFF).strip().lower()
    if chosen in {ON, "true", "1"}:
        return True
    if chosen in {OFF, "false", "0"}:
        return False
    raise ParameterError(f"The setting {setting.name!r} must be on or off, got {chosen!r}.")


def whole(setting: Setting) -> int | None:
    """``setting`` as a positive whole number; None if unset.

    Raises ``ParameterError`` for anything else.
    """
    chosen = text(setting)
    if chosen is None:
        return None
    if not re.fullmatch(r"[0-9]{1,12}", chosen.strip()) or int(chosen) < 1:
        raise ParameterError(
            f"The setting {setting.name!r} must be a whole number of at least 1, got {chosen!r}."
        )
    return int(chosen)


def parts(setting: Setting) -> tuple[str, ...]:
    """The parts of the list ``setting``; none if unset."""
    return tuple(filter(None, (part.strip() for part in (text(setting) or "").split(","))))


def size(setting: Setting) -> int | None:
    """``setting`` in bytes; None if unset.

    Raises ``ParameterError`` for a text that is not a size.
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
    """Folder for files that this product creates or fetches, by the setting ``cache``."""
    return path(CACHE) or platformdirs.user_cache_path("robustness", appauthor=False)


def located(text: str, folder: Path) -> Path:
    """``text`` as a path relative to ``folder``; ``~`` is the home folder.

    Raises ``ParameterError`` for a text that is not a path, or an unknown home.
    """
    try:
        found = folder / Path(text).expanduser()
    except RuntimeError:
        raise ParameterError(f"{text!r} is not a path: it names a user without a home.") from None
    if "\0" in text:
        raise ParameterError(f"{text!r} is not a path: it holds a character of code 0.")
    return found


def check_usable() -> None:
    """Raise ``ParameterError`` if the settings cannot be read."""
    for setting in REGISTRY:
        if setting.is_path:
            path(setting)


def _places(asked: Setting) -> list[tuple[Mapping[str, str], Path]]:
    """The sources of settings, first to last, each with its folder for relative paths.

    From the environment only ``asked`` is read, since every prediction looks up some setting.
    """
    here = os.getcwd()
    named = os.environ.get(CONFIG_VARIABLE)
    versions = [_version(os.path.join(here, file)) for file in (named or CONFIG_FILE, SECRETS_FILE)]
    environment = {asked.name: os.environ.get(asked.variable, "")}
    folder, files = _files(here, named, *versions)
    return [(environment, folder), *files]


def _version(file: str) -> Version | None:
    """The version of ``file``; None if it does not exist."""
    try:
        return version(file)
    except (OSError, ValueError):
        return None


@lru_cache(maxsize=8)
def _files(
    here: str, named: str | None, config_version: Version | None, secrets_version: Version | None
) -> tuple[Path, list[tuple[Mapping[str, str], Path]]]:
    """The folder ``here`` and the files' settings, cached until a file changes."""
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
    """``values`` as texts; raises ``ParameterError`` for an unknown name or a wrong type."""
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
