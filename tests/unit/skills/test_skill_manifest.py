import pytest

from tools_server.skills.folder import Problem
from tools_server.skills.manifest import Manifest, check_name, parse_manifest

HEAD = 'name = "demo"\nversion = "1.0.0"\ndescription = "Say something short."\n'
GENERATE = HEAD + 'kind = "generate"\n'
CHOOSE = HEAD + 'kind = "choose"\n'


def parse(source: str, folder_name: str = "demo") -> Manifest:
    return parse_manifest(source, folder_name=folder_name)


def test_a_short_manifest_gets_defaults():
    manifest = parse(GENERATE)
    assert manifest.limits.long_input == "refuse"
    assert manifest.inputs.accepts == ("text", "items", "paths")
    assert manifest.decoding.temperature == 0.0
    assert manifest.trust.defer_below is None
    assert manifest.adapters == {}


def test_every_section_is_read():
    manifest = parse(
        CHOOSE
        + f"""
        [limits]
        max_input_tokens = 99
        long_input = "split"
        [decoding]
        temperature = 1
        [trust]
        defer_below = 0.6
        [inputs]
        accepts = ["paths"]
        [choose]
        labels = "labels"
        [adapters."qwen2.5-coder-1.5b-instruct"]
        file = "adapters/qwen2.5-coder-1.5b-instruct/adapter.gguf"
        sha256 = "{"a" * 64}"
        base_sha256 = "{"b" * 64}"
        """
    )
    assert manifest.limits.max_input_tokens == 99
    assert manifest.trust.defer_below == 0.6
    assert manifest.inputs.accepts == ("paths",)
    assert manifest.choose.labels == "labels"
    assert manifest.adapters["qwen2.5-coder-1.5b-instruct"].scale == 1.0


@pytest.mark.parametrize(
    ("source", "key", "near"),
    [
        (GENERATE + "titel = 'x'\n", "titel", "`title`"),
        (GENERATE.replace("name", "naem"), "naem", "`name`"),
        (GENERATE + "[limits]\nmax_input_token = 3\n", "limits.max_input_token", "`max_input_tokens`"),
        (GENERATE + "[adapters.m]\nfil = 'x'\n", "adapters.m.fil", "`file`"),
        (GENERATE + "[decode]\ntemperature = 1\n", "decode", "`decoding`"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(source: str, key: str, near: str):
    with pytest.raises(Problem) as caught:
        parse(source)
    assert caught.value.file == "skill.toml"
    assert caught.value.key == key
    assert f"did you mean {near}?" in caught.value.reason


@pytest.mark.parametrize(
    ("source", "key", "word"),
    [
        ("name = ", "", "not TOML"),
        (HEAD, "kind", "is missing"),
        (GENERATE.replace("1.0.0", "one"), "version", "'one'"),
        (HEAD + 'kind = "guess"\n', "kind", "'guess'"),
        (GENERATE + "[limits]\nmax_output_tokens = '9'\n", "limits.max_output_tokens", "integer"),
        (GENERATE + "[limits]\nmax_output_tokens = true\n", "limits.max_output_tokens", "integer"),
        (GENERATE + "[limits]\nmax_output_tokens = 0\n", "limits.max_output_tokens", "greater"),
        (GENERATE + "[inputs]\naccepts = []\n", "inputs.accepts", "at least 1"),
        (GENERATE + "[inputs]\naccepts = ['text', 'text']\n", "inputs.accepts", "twice"),
        (GENERATE + "[generate]\nspans = 'some'\n", "generate.spans", "'marked', 'all' or 'none'"),
        (GENERATE + "[choose]\nlabels = 'labels'\n", "choose", 'kind is "generate"'),
        (CHOOSE + "[generate]\nschema_from = 'fields'\n", "generate", 'kind is "choose"'),
        (GENERATE + "[adapters.m]\nfile = 'x'\nsha256 = 'AB'\nbase_sha256 = 'x'\n", "adapters.m.sha256", "pattern"),
    ],
)
def test_a_wrong_manifest_names_key_and_reason(source: str, key: str, word: str):
    with pytest.raises(Problem) as caught:
        parse(source)
    assert caught.value.key == key
    assert word in caught.value.reason


def test_the_name_must_be_the_folders():
    with pytest.raises(Problem, match="'demo' must be the folder's name, 'other'"):
        parse(GENERATE, folder_name="other")


@pytest.mark.parametrize("name", ["", "Demo", "1st", "a.b", "a b", "x" * 31, "demo\n", "ünder"])
def test_a_name_outside_of_the_pattern_is_refused(name: str):
    assert check_name(name) is not None


@pytest.mark.parametrize("name", ["run_skill", "verify"])
def test_a_name_of_the_servers_own_tools_is_refused(name: str):
    assert "of the server itself" in (check_name(name) or "")


def test_a_near_name_is_suggested():
    assert "such as 'my-skill'" in (check_name("My Skill!") or "")


@pytest.mark.parametrize("name", ["a", "log_level", "a-1", "x" * 30])
def test_a_good_name_passes(name: str):
    assert check_name(name) is None
