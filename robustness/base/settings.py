"""Settings of an installation, from environment variables or TOML files.

The first of these that has a value counts: the environment variable, ``robustness.toml`` in the
working folder (``$ROBUSTNESS_CONFIG`` names another file), the table ``[robustness]`` of
``.streamlit/secrets.toml``, ``robustness.toml`` in the user's configuration folder. Relative paths
in a file are relative to that file's folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import platformdirs
from pydantic import BeforeValidator, Field, ValidationInfo

from robustness.base.errors import ParameterError
from robustness.base.files import Version, version
from robustness.base.registry import Registry
from robustness.base.text import did_you_mean
from robustness.base.toml import read_toml
from robustness.base.validation import checked, expected

CONFIG_VARIABLE = "ROBUSTNESS_CONFIG"
CONFIG_FILE = "robustness.toml"
SECRETS_FILE = Path(".streamlit") / "secrets.toml"
SECRETS_TABLE = "robustness"

_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_SIZE = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)\s*([KMG]I?B)?", re.IGNORECASE)


def _bytes(text: str) -> int:
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(text)
    return int(float(match[1]) * _UNITS[(match[2] or "").upper()])


def _split(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (part.strip() for part in text.split(","))))


def _from(text: str, info: ValidationInfo) -> Path:
    folder: Any = info.context
    return located(text, folder)


def _all_from(text: str, info: ValidationInfo) -> tuple[Path, ...]:
    return tuple(_from(part, info) for part in _split(text))


Word = BeforeValidator(lambda text: text.strip().lower())
Switch = Annotated[bool, Word, expected("on or off")]
Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
Whole = Annotated[int, Field(ge=1, lt=10**12), expected("a whole number of at least 1")]
Size = Annotated[int, BeforeValidator(_bytes), Field(gt=0), expected("a size such as 4GB or 800MB")]
Seconds = Annotated[
    float, Field(gt=0, lt=86_400), expected("seconds, a number above 0 and below 86400")
]
Role = Annotated[Literal["none", "viewer", "evaluator", "owner"], Word]
Priority = Annotated[Literal["idle", "normal"], Word]
Engine = Annotated[Literal["openvino", "tensorflow"], Word]
Precision = Annotated[Literal["f32", "bf16"], Word]
Location = Annotated[Path, BeforeValidator(_from)]
Locations = Annotated[tuple[Path, ...], BeforeValidator(_all_from)]

Kind = TypeVar("Kind", covariant=True)


@dataclass(frozen=True)
class Setting(Generic[Kind]):
    """A value that the operator may set.

    ``meaning`` is one line for the documentation, ``kind`` the type of its value. In a file, a
    ``Switch`` may be true or false, and ``Names`` or ``Locations`` a TOML array.
    """

    name: str
    meaning: str
    kind: Any = str

    @property
    def variable(self) -> str:
        """The name of its environment variable."""
        return f"ROBUSTNESS_{self.name.upper()}"

    @property
    def is_path(self) -> bool:
        return self.kind is Location


REGISTRY: Registry[Setting[Any]] = Registry("setting")


def _of(kind: Any) -> Callable[[str, str], Setting[Any]]:
    return lambda name, meaning: REGISTRY.add(Setting(name, meaning, kind))


_text: Callable[[str, str], Setting[str]] = _of(str)
_path: Callable[[str, str], Setting[Path]] = _of(Location)
_paths: Callable[[str, str], Setting[tuple[Path, ...]]] = _of(Locations)
_names: Callable[[str, str], Setting[tuple[str, ...]]] = _of(Names)
_switch: Callable[[str, str], Setting[bool]] = _of(Switch)
_whole: Callable[[str, str], Setting[int]] = _of(Whole)
_size: Callable[[str, str], Setting[int]] = _of(Size)
_seconds: Callable[[str, str], Setting[float]] = _of(Seconds)
_role: Callable[[str, str], Setting[str]] = _of(Role)
_priority: Callable[[str, str], Setting[str]] = _of(Priority)
_engine: Callable[[str, str], Setting[str]] = _of(Engine)
_precision: Callable[[str, str], Setting[Literal["f32", "bf16"]]] = _of(Precision)

WEIGHTS_DIR = _path("weights_dir", "folder searched first for weight files")
WEIGHTS_MIRROR = _text("weights_mirror", "URL of such a folder, used instead of the official host")
DOWNLOAD_TIMEOUT = _seconds(
    "download_timeout", "longest wait for the next bytes of a download, in seconds (default: 20)"
)
CACHE = _path("cache", "folder for files that the product creates or fetches, or must remember")
MODELS = _path("models", "file that describes your own models (default: models.toml)")
PLUGINS = _paths("plugins", "Python files that add perturbations, metrics, attacks and remedies")
RUNS = _path("runs", "folder of runs, of the dashboard and of commands (default: runs)")
DATASETS = _path("datasets", "folder whose subfolders and archives the dashboard may evaluate")
MEMORY = _size("memory", "memory for loaded models, such as 4GB (default: half of it)")
JOBS = _whole("jobs", "dataset runs in progress at once (default: 1)")
JOB_PRIORITY = _priority(
    "job_priority", "priority of dataset runs: idle (default: only unused cores) or normal"
)
ENGINE = _engine(
    "engine", "engine of forward passes: openvino, or tensorflow (the default with a GPU)"
)
PRECISION = _precision(
    "precision", "f32 (default), or bf16: faster on some processors, with different predictions"
)
LOGIN = _switch("login", "on: users must log in (default: off)")
OWNERS = _names("owners", "e-mail addresses of owners, who may do everything")
EVALUATORS = _names("evaluators", "e-mail addresses that may evaluate and attack")
VIEWERS = _names("viewers", "e-mail addresses that may look and measure")
USER_ROLE = _role("user_role", "role of logged-in users in none of these lists (default: none)")
ANONYMOUS_ROLE = _role(
    "anonymous_role",
    "role of visitors over the network without a login (default: evaluator; with login: none)",
)
LOCAL_ROLE = _role(
    "local_role", "role of users at this machine while login is off (default: owner)"
)
LOCAL_OWNER = _switch(
    "local_owner", "on: users at this machine have local_role, with hosts or a login, too"
)
READ_ONLY = _switch("read_only", "on: nothing stored may change (default: off)")
HOSTS = _names("hosts", "host names the dashboard answers to, besides localhost")
METRICS_TOKEN = _text("metrics_token", "bearer token with which another machine may read /metrics")
UPLOAD_LIMIT = _size(
    "upload_limit", "largest upload per file, at most Streamlit's server.maxUploadSize"
)
PICTURES_LIMIT = _whole("pictures_limit", "most images in one run of the dashboard")
WAITING_LIMIT = _whole(
    "waiting_limit", "jobs that one browser or account may have waiting (default: 3)"
)
QUEUE_LIMIT = _whole("queue_limit", "jobs that may wait, of all users together (default: 30)")
DISK_LIMIT = _size("disk_limit", "disk space of the runs folder above which no new run starts")
RUNS_KEPT = _whole("runs_kept", "number of runs kept of each creator; older ones go to the bin")
DAYS_KEPT = _whole("days_kept", "days after which a run goes to the bin")
BIN_DAYS = _whole("bin_days", "days after which a deleted run is removed for good (default: 7)")
SHARED_DAYS = _whole(
    "shared_days", "days that an uploaded image can be shared by a link (default: never)"
)
CONTACT = _text("operator_contact", "whom to ask, shown wherever something is refused")
DECODE_MEMORY = _size("decode_memory", "memory for decoding images (default: 800MB)")
UPLOADS = _size("uploads", "memory for all uploads together (default: 2GB)")


def value(setting: Setting[Kind]) -> Kind | None:
    """The value of ``setting``; None if unset or empty. A relative path becomes absolute.

    Raises ``ParameterError`` for an invalid value, and for a file that is not TOML or holds an
    unknown setting.
    """
    for values, folder in _places(setting):
        text = values.get(setting.name)
        if text:
            where = f"The setting {setting.name!r}"
            value: Kind = checked(setting.kind, text, where, context=folder)
            return value
    return None


def cache_folder() -> Path:
    """Folder for files that this product creates or fetches, by the setting ``cache``."""
    return value(CACHE) or platformdirs.user_cache_path("robustness", appauthor=False)


@cache  # every prediction looks up settings
def config_folder() -> Path:
    """The user's folder for settings and descriptions of models that hold in every folder."""
    return platformdirs.user_config_path("robustness", appauthor=False)


def state_folder() -> Path:
    """Folder for what an installation must remember: by the setting ``cache``, else the user's."""
    return value(CACHE) or platformdirs.user_state_path("robustness", appauthor=False)


def located(text: str, folder: Path) -> Path:
    """``text`` as a path relative to ``folder``; ``~`` is the home folder.

    Raises ``ParameterError`` for a text that is not a path, or an unknown home.
    """
    try:
        path = folder / Path(text).expanduser()
    except RuntimeError:
        raise ParameterError(f"{text!r} is not a path: it names a user without a home.") from None
    if "\0" in text:
        raise ParameterError(f"{text!r} is not a path: it holds a character of code 0.")
    return path


def check_usable() -> None:
    """Raise ``ParameterError`` if the settings cannot be read."""
    for setting in REGISTRY:
        if setting.is_path:
            value(setting)


def _places(setting: Setting[Any]) -> list[tuple[Mapping[str, str], Path]]:
    """The sources of settings, first to last, each with its folder for relative paths.

    From the environment only ``setting`` is read, since every prediction looks up some setting.
    """
    here = os.getcwd()
    named = os.environ.get(CONFIG_VARIABLE)
    users = os.path.join(config_folder(), CONFIG_FILE)
    files = (os.path.join(here, named or CONFIG_FILE), os.path.join(here, SECRETS_FILE), users)
    versions = tuple(_version(file) for file in files)
    if named and not os.path.isfile(files[0]):
        raise ParameterError(f"${CONFIG_VARIABLE} names {named!r}, which is not a file.")
    environment = {setting.name: os.environ.get(setting.variable, "")}
    return [(environment, Path(here)), *_settings_of(files, versions)]


def _version(file: str) -> Version | None:
    """The version of ``file``; None if it does not exist."""
    try:
        return version(file)
    except (OSError, ValueError):
        return None


@lru_cache(maxsize=8)
def _settings_of(
    files: tuple[str, str, str], versions: tuple[Version | None, ...]
) -> list[tuple[Mapping[str, str], Path]]:
    """The settings of ``files``, each with its folder, cached until a version changes.

    ``files`` are the one of the working folder or the named one, the secrets, and the user's.
    """
    config, secrets, of_user = (
        read_toml(Path(file)) if file_version is not None else {}
        for file, file_version in zip(files, versions, strict=True)
    )
    tables = (config, secrets.get(SECRETS_TABLE, {}), of_user)
    return [
        (_checked(table, Path(file)), Path(file).parent)
        for table, file in zip(tables, files, strict=True)
    ]


def _checked(values: Any, file: Path) -> Mapping[str, str]:
    """``values`` as texts; raises ``ParameterError`` for an unknown name or a wrong type."""
    if not isinstance(values, Mapping):
        raise ParameterError(f"{file}: expected a table [{SECRETS_TABLE}], got {values!r}.")
    for name in values:
        if name not in REGISTRY:
            hint = did_you_mean(name, REGISTRY.names)
            raise ParameterError(f"{file}: there is no setting {name!r}. {hint}.")
    texts = {}
    for name, value in values.items():
        kind = REGISTRY[name].kind
        is_list = isinstance(value, list) and all(isinstance(entry, str) for entry in value)
        if kind is Switch and isinstance(value, bool):
            texts[name] = "on" if value else "off"
        elif kind in (Names, Locations) and is_list:
            texts[name] = ", ".join(value)
        elif isinstance(value, str | int | float) and not isinstance(value, bool):
            texts[name] = str(value)
        else:
            raise ParameterError(f"{file}: expected {name} to be a text, got {value!r}.")
    return texts
