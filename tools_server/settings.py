"""Settings: flags > environment (`TOOLS_SERVER_*`) > `tools-server.toml` > defaults. An unknown key is an error.

The TOML file lives in the user's config folder (or where `TOOLS_SERVER_CONFIG` or `--config` says); relative paths
in it are relative to it. A file in the current directory is not read: opening a stranger's repository must not change
which paths may be read.
"""

import difflib
import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import platformdirs
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from tools_server.errors import SettingsError

ENV_PREFIX = "TOOLS_SERVER_"
CONFIG_VARIABLE = "TOOLS_SERVER_CONFIG"
FILE_NAME = "tools-server.toml"
PATHS = ("config_dir", "cache_dir", "adapters_dir", "data_dir", "runtime_dir")
PATH_LISTS = ("skills_dirs", "allow_paths")
"""Settings that the environment gives as one string, separated as PATH is."""


def config_dir() -> Path:
    """The user's folder for settings, skills and model manifests."""
    return platformdirs.user_config_path("tools-server")


KvType = Literal["f16", "bf16", "q8_0"]
"""Formats of the KV cache."""

UserPath = Annotated[Path, AfterValidator(Path.expanduser)]


class Settings(BaseModel):
    """Everything that can be set. Frozen: a running server never changes its mind."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field("qwen2.5-coder-1.5b-instruct", description="id of the model to serve")
    skills_dirs: tuple[UserPath, ...] = Field((), description="further folders of skill folders; later ones win")
    config_dir: UserPath = Field(default_factory=config_dir, description="the user's skills/ and models/ lie here")
    cache_dir: UserPath = Field(
        default_factory=lambda: platformdirs.user_cache_path("tools-server"), description="downloaded weights lie here"
    )
    adapters_dir: UserPath = Field(
        default_factory=lambda: platformdirs.user_data_path("tools-server") / "adapters",
        description="adapter versions that you trained or added, and which of them are served",
    )
    data_dir: UserPath | None = Field(
        None, description="folder of data sets for evaluation and training; default: `datasets` in the cache folder"
    )
    allow_paths: tuple[UserPath, ...] = Field(
        (), description="folders whose files may be given as `paths`; none by default"
    )
    context_tokens: int = Field(16384, ge=512, description="KV cache shared by all running requests, in tokens")
    max_sequences: int = Field(32, ge=1, le=64, description="requests that run at the same time")
    batch_tokens: int = Field(512, ge=32, le=4096, description="tokens decoded at once, at most")
    threads: int | None = Field(None, ge=1, description="CPU threads; default: physical cores")
    flash_attention: bool | None = Field(None, description="attention in one pass; default: where llama.cpp has it")
    kv_type: KvType = Field("f16", description="format of the KV cache; `q8_0` takes half the memory of `f16`")
    tuned: bool = Field(True, description="serve what `models tune` found fastest on this machine")
    queue_limit: int = Field(256, ge=1, description="requests that may wait; beyond it a call is told to come back")
    in_process: bool = Field(False, description="an engine of our own instead of the host that all sessions share")
    host_idle_s: float = Field(900.0, gt=0, description="seconds without a request after which the engine host ends")
    runtime_dir: UserPath | None = Field(
        None, description="the engine host's socket, locks and log; default: the user's runtime and log folders"
    )
    low_priority: bool = Field(False, description="let everything else on the machine go first")
    memory_limit_mb: int | None = Field(
        None, ge=1, description="refuse to load a model that would take more memory; default: no limit"
    )
    call_timeout_s: float = Field(120.0, gt=0, description="seconds after which a call ends with an error")
    watch: bool = Field(True, description="reload skill folders when they change")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="what goes to stderr")


def load_settings(flags: dict[str, Any] | None = None, *, config: Path | None = None) -> Settings:
    """Merge the sources; `flags` whose value is None were not given.

    Raises:
        SettingsError: an unknown key (with the nearest known one), an invalid value, or an unreadable file.
    """
    merged, origin = _merge(flags, config)
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else "settings"
        raise SettingsError(
            f"Setting `{key}` from {origin.get(key, 'defaults')} is invalid: {first['msg']} (got {first['input']!r}).",
            "docs/settings.md lists every setting with its meaning.",
        ) from error


def setting_origins(flags: dict[str, Any] | None = None, *, config: Path | None = None) -> dict[str, str]:
    """Tell where each setting comes from: "flags", "environment", the path of the file, or "defaults".

    Raises:
        SettingsError: as `load_settings` does, except for invalid values.
    """
    _, origin = _merge(flags, config)
    return {key: origin.get(key, "defaults") for key in Settings.model_fields}


def _merge(flags: dict[str, Any] | None, config: Path | None) -> tuple[dict[str, Any], dict[str, str]]:
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    environment = _from_environment()
    folder = Path(given.get("config_dir") or environment.get("config_dir") or config_dir()).expanduser()
    merged: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for name, values in (_from_file(config, folder), ("environment", environment), ("flags", given)):
        for key, value in values.items():
            if key not in Settings.model_fields:
                raise _unknown(key, name)
            merged[key] = value
            origin[key] = name
    return merged, origin


def _from_file(config: Path | None, folder: Path) -> tuple[str, dict[str, Any]]:
    explicit = config or (Path(os.environ[CONFIG_VARIABLE]) if os.environ.get(CONFIG_VARIABLE) else None)
    path = explicit.expanduser() if explicit else folder / FILE_NAME
    if explicit is None and not path.exists():
        return str(path), {}
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"Cannot read settings from {path}: {error}.", "Mend or remove the file.") from error
    return str(path), {key: _beside(path.parent, key, value) for key, value in values.items()}


def _beside(folder: Path, key: str, value: Any) -> Any:
    """Take a relative path in the file as relative to the file: clients start servers in folders of their own."""
    if key in PATHS and isinstance(value, str):
        return folder / Path(value).expanduser()
    if key in PATH_LISTS and isinstance(value, list):
        items = cast("list[Any]", value)
        return [folder / Path(item).expanduser() if isinstance(item, str) else item for item in items]
    return value


def _from_environment() -> dict[str, Any]:
    values: dict[str, Any] = {}
    for variable, value in os.environ.items():
        if not variable.startswith(ENV_PREFIX) or variable == CONFIG_VARIABLE:
            continue
        key = variable.removeprefix(ENV_PREFIX).lower()
        values[key] = tuple(p for p in value.split(os.pathsep) if p) if key in PATH_LISTS else value
    return values


def _unknown(key: str, origin: str) -> SettingsError:
    near = difflib.get_close_matches(key, Settings.model_fields, n=1, cutoff=0.0)[0]
    if origin == "environment":
        key, near = f"{ENV_PREFIX}{key.upper()}", f"{ENV_PREFIX}{near.upper()}"
    return SettingsError(f"Unknown setting `{key}` from {origin}.", f"Did you mean `{near}`?")
