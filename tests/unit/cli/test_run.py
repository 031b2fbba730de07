"""`tools-server run`: files and arguments in, one typed answer out, failures on stderr with an exit code."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.cli.conftest import RunCli, UseScript
from tools_server.cli.run import parse_arguments
from tools_server.engine.scripted import saying
from tools_server.errors import InputUnreadable, InvalidArguments
from tools_server.skills.types import Skill

SUMMARY = {"summary": "It is a brief one.", "key_points": ["One of them all."]}
WriteFile = Callable[..., str]


@pytest.fixture(autouse=True)
def _summarising_model(scripted: UseScript) -> None:
    scripted(saying(json.dumps(SUMMARY, separators=(",", ":"))))


@pytest.fixture
def file(home: Path) -> WriteFile:
    def write(name: str, content: str | bytes = "Some text to work on.\n") -> str:
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return name

    return write


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    def give(content: bytes) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), "utf-8"))

    return give


def test_one_file_gives_one_flat_answer(run_cli: RunCli, file: WriteFile):
    outcome = run_cli("run", "summarise", file("a.txt"), "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out) == SUMMARY


def test_an_answer_is_readable_without_json(run_cli: RunCli, file: WriteFile):
    outcome = run_cli("run", "summarise", file("a.txt"))
    assert outcome.out.splitlines() == ["summary: It is a brief one.", "key_points:", "  - One of them all."]


def test_several_files_give_results_with_the_paths_as_they_were_typed(run_cli: RunCli, file: WriteFile):
    outcome = run_cli("run", "summarise", file("a.txt"), file("sub/b.txt"), "--json")
    results = json.loads(outcome.out)["results"]
    assert [(entry["index"], entry["path"], entry["summary"]) for entry in results] == [
        (0, "a.txt", "It is a brief one."),
        (1, "sub/b.txt", "It is a brief one."),
    ]


def test_several_answers_are_shown_under_the_names_of_their_files(run_cli: RunCli, file: WriteFile):
    outcome = run_cli("run", "summarise", file("a.txt"), file("b.txt"))
    assert [line for line in outcome.out.splitlines() if not line.startswith(" ")] == ["a.txt", "b.txt"]


@pytest.mark.parametrize("words", [[], ["-"]], ids=["nothing", "dash"])
def test_without_files_or_with_a_dash_standard_input_is_read(
    run_cli: RunCli, stdin: Callable[[bytes], None], words: list[str]
):
    stdin("\ufeffA text with ümlauts.".encode())
    outcome = run_cli("run", "summarise", *words, "--json")
    assert json.loads(outcome.out) == SUMMARY


def test_a_file_outside_the_allowed_folders_is_read_because_its_user_named_it(
    run_cli: RunCli, file: WriteFile, home: Path, tmp_path: Path
):
    (tmp_path / "link.txt").symlink_to(home / file("far/away/a.txt"))
    assert run_cli("run", "summarise", str(tmp_path / "link.txt"), "--json").code == 0


def test_verbose_tells_tokens_and_seconds(run_cli: RunCli, file: WriteFile):
    outcome = run_cli("run", "summarise", file("a.txt"), "--verbose")
    assert "tokens read" in outcome.err
    detailed = json.loads(run_cli("run", "summarise", file("a.txt"), "--json", "-v").out)
    assert detailed["data"] == SUMMARY
    assert detailed["usage"]["prompt"] > 0
    assert detailed["timings"]["total"] > 0


def test_a_missing_file_is_an_error_with_nothing_on_stdout(run_cli: RunCli, home: Path):
    outcome = run_cli("run", "summarise", "nope.txt")
    assert (outcome.code, outcome.out) == (1, "")
    assert f"Cannot read '{home / 'nope.txt'}': no such file or directory." in outcome.err


def test_one_bad_file_among_several_harms_no_other_and_shows_in_the_exit_code(run_cli: RunCli, file: WriteFile):
    outcome = run_cli("run", "summarise", file("a.txt"), file("b.bin", b"\0\1"), "--json")
    first, second = json.loads(outcome.out)["results"]
    assert first["summary"] == "It is a brief one."
    assert second["error"]["code"] == "input_unreadable"
    assert outcome.code == 1


def test_an_unknown_skill_names_the_nearest_one(run_cli: RunCli, file: WriteFile):
    outcome = run_cli("run", "sumarise", file("a.txt"))
    assert outcome.code == 2
    assert "'sumarise'" in outcome.err
    assert "`summarise`" in outcome.err


def test_an_unknown_argument_is_an_error(run_cli: RunCli, file: WriteFile):
    outcome = run_cli("run", "summarise", file("a.txt"), "--arg", "max_wrods=20")
    assert outcome.code == 1
    assert "max_wrods" in outcome.err


def test_standard_input_cannot_stand_beside_files(run_cli: RunCli, file: WriteFile):
    outcome = run_cli("run", "summarise", file("a.txt"), "-")
    assert outcome.code == 1
    assert "cannot stand beside files" in outcome.err


def test_standard_input_that_is_not_utf_8_names_the_byte(run_cli: RunCli, stdin: Callable[[bytes], None]):
    stdin(b"caf\xe9")
    outcome = run_cli("run", "summarise", "-")
    assert outcome.code == 1
    assert "byte 3 is 0xe9" in outcome.err


def test_a_model_that_is_not_here_exits_with_3_and_says_how_to_get_it(
    run_cli: RunCli, file: WriteFile, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.undo()  # the real engine factory, which looks for weights in an empty home
    monkeypatch.setenv("TOOLS_SERVER_CACHE_DIR", str(Path(file("empty/x")).parent))
    outcome = run_cli("run", "summarise", file("a.txt"), "--model", "smollm2-135m-instruct")
    assert outcome.code == 3
    assert "tools-server models pull smollm2-135m-instruct" in outcome.err


def test_a_misspelt_setting_exits_with_2(run_cli: RunCli, file: WriteFile, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TOOLS_SERVER_TREADS", "2")
    outcome = run_cli("run", "summarise", file("a.txt"))
    assert outcome.code == 2
    assert "Did you mean `TOOLS_SERVER_THREADS`?" in outcome.err


def skill_taking(**properties: Any) -> Skill:
    return SimpleNamespace(arguments_schema={"properties": properties})  # type: ignore[return-value]


LIST = {"type": "array"}
WORDS = {"type": "string"}


@pytest.mark.parametrize(
    ("schema", "given", "value"),
    [
        (LIST, '["a", "b"]', ["a", "b"]),
        (LIST, "a,b", "a,b"),  # the schema will complain, with the argument's name
        ({"type": "integer"}, "7", 7),
        ({"type": "boolean"}, "true", True),
        (WORDS, "7", "7"),
        (WORDS, "true", "true"),
        (WORDS, "k=v", "k=v"),
        ({"type": ["string", "null"]}, "7", "7"),
        ({}, '{"a": 1}', {"a": 1}),
    ],
)
def test_an_argument_is_json_where_the_schema_wants_no_string(schema: dict[str, Any], given: str, value: object):
    assert parse_arguments(skill_taking(x=schema), [f"x={given}"]) == {"x": value}


def test_an_argument_can_come_from_a_json_file(home: Path, file: WriteFile):
    assert parse_arguments(skill_taking(x=LIST), [f"x=@{file('l.json', '[1]')}"]) == {"x": [1]}


def test_an_argument_without_an_equals_sign_is_an_error():
    with pytest.raises(InvalidArguments, match=r"--arg 'labels' has no `=`.*NAME=VALUE"):
        parse_arguments(skill_taking(), ["labels"])


def test_an_argument_file_that_is_missing_or_no_json_is_an_error(home: Path, file: WriteFile):
    with pytest.raises(InputUnreadable, match=r"Cannot read 'nope\.json'.*Check the path"):
        parse_arguments(skill_taking(), ["x=@nope.json"])
    with pytest.raises(InvalidArguments, match="does not hold JSON"):
        parse_arguments(skill_taking(), [f"x=@{file('bad.json', '[1')}"])
