"""Settings come from four places in one order, and whatever is wrong names its place and the next move."""

import os
from pathlib import Path

import pytest

from tools_server.errors import SettingsError
from tools_server.settings import ENV_PREFIX, Settings, load_settings, setting_origins


@pytest.fixture(autouse=True)
def _own_config_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in [name for name in os.environ if name.startswith(ENV_PREFIX)]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def test_with_nothing_given_every_setting_has_its_default():
    assert load_settings() == Settings()
    assert set(setting_origins().values()) == {"defaults"}


def test_no_path_is_allowed_by_default():
    assert load_settings().allow_paths == ()


def test_flags_beat_the_environment_which_beats_the_file_which_beats_the_defaults(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    config = write(tmp_path / "s.toml", "threads = 2\nqueue_limit = 2\nmax_sequences = 2\n")
    monkeypatch.setenv("TOOLS_SERVER_QUEUE_LIMIT", "3")
    monkeypatch.setenv("TOOLS_SERVER_MAX_SEQUENCES", "3")
    flags = {"max_sequences": 4, "threads": None}  # None: the flag was not given

    settings = load_settings(flags, config=config)

    assert (settings.threads, settings.queue_limit, settings.max_sequences) == (2, 3, 4)
    assert settings.batch_tokens == Settings().batch_tokens
    origins = setting_origins(flags, config=config)
    assert [origins[key] for key in ("max_sequences", "queue_limit", "threads", "batch_tokens")] == [
        "flags",
        "environment",
        str(config),
        "defaults",
    ]


def test_the_file_in_the_users_config_folder_is_read_when_none_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    write(tmp_path / "elsewhere" / "tools-server.toml", "threads = 3\n")
    monkeypatch.setenv("TOOLS_SERVER_CONFIG_DIR", str(tmp_path / "elsewhere"))
    assert load_settings().threads == 3


def test_a_file_in_the_current_directory_is_not_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    write(tmp_path / "tools-server.toml", 'allow_paths = ["/"]\n')
    monkeypatch.chdir(tmp_path)
    assert load_settings().allow_paths == ()


def test_the_environment_can_name_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("TOOLS_SERVER_CONFIG", str(write(tmp_path / "s.toml", "threads = 5\n")))
    assert load_settings().threads == 5


def test_a_named_file_that_is_missing_is_an_error(tmp_path: Path):
    with pytest.raises(SettingsError, match=r"Cannot read settings from .*missing\.toml"):
        load_settings(config=tmp_path / "missing.toml")


def test_a_file_that_is_no_toml_is_an_error_naming_the_file(tmp_path: Path):
    with pytest.raises(SettingsError, match=r"Cannot read settings from .*s\.toml.*Mend or remove the file"):
        load_settings(config=write(tmp_path / "s.toml", "threads = = 2"))


@pytest.mark.parametrize(("typo", "meant"), [("treads", "threads"), ("allow_path", "allow_paths"), ("modle", "model")])
def test_an_unknown_key_in_the_file_names_the_nearest_known_one(tmp_path: Path, typo: str, meant: str):
    with pytest.raises(SettingsError) as caught:
        load_settings(config=write(tmp_path / "s.toml", f"{typo} = 1\n"))
    assert f"Unknown setting `{typo}` from {tmp_path / 's.toml'}" in caught.value.message
    assert caught.value.hint == f"Did you mean `{meant}`?"


def test_an_unknown_variable_is_shown_as_the_user_wrote_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TOOLS_SERVER_MODLE", "x")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert caught.value.message == "Unknown setting `TOOLS_SERVER_MODLE` from environment."
    assert caught.value.hint == "Did you mean `TOOLS_SERVER_MODEL`?"


@pytest.mark.parametrize(
    ("flags", "shown"),
    [({"threads": "many"}, "'many'"), ({"context_tokens": 5}, "got 5"), ({"log_level": "loud"}, "'loud'")],
)
def test_an_invalid_value_names_key_origin_and_value(flags: dict[str, object], shown: str):
    with pytest.raises(SettingsError) as caught:
        load_settings(flags)
    (key,) = flags
    assert f"`{key}` from flags" in caught.value.message
    assert shown in caught.value.message


def test_an_invalid_variable_names_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TOOLS_SERVER_THREADS", "0")
    with pytest.raises(SettingsError, match="`threads` from environment is invalid"):
        load_settings()


def test_lists_of_paths_in_the_environment_are_separated_as_path_is(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TOOLS_SERVER_ALLOW_PATHS", os.pathsep.join(["/a", "", "/b"]))
    assert load_settings().allow_paths == (Path("/a"), Path("/b"))


def test_relative_paths_in_the_file_are_relative_to_the_file_and_a_tilde_is_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("HOME", "/home/someone")
    config = write(tmp_path / "conf" / "s.toml", 'allow_paths = ["notes", "/abs", "~/x"]\ncache_dir = "cache"\n')
    settings = load_settings(config=config)
    assert settings.allow_paths == (tmp_path / "conf" / "notes", Path("/abs"), Path("/home/someone/x"))
    assert settings.cache_dir == tmp_path / "conf" / "cache"


def test_a_tilde_in_the_environment_is_home(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("TOOLS_SERVER_CACHE_DIR", "~/cache")
    assert load_settings().cache_dir == Path("/home/someone/cache")


def test_settings_cannot_change_once_loaded():
    with pytest.raises(ValueError, match="frozen"):
        load_settings().threads = 3


def test_every_setting_says_what_it_is():
    assert all(field.description for field in Settings.model_fields.values())
