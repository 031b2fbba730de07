"""`tools-server verify`: exit code 1 when something is missing, so that scripts can ask."""

import io
import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import RunCli

TEXT = "Ann Lee of Oslo paid 19.95 EUR on 3 March 2026."


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "mail.txt"
    path.write_text(TEXT, "utf-8")
    return path


def test_an_answer_that_stands_in_its_source_succeeds(run_cli: RunCli, source: Path, tmp_path: Path):
    answer = tmp_path / "answer.json"
    answer.write_text(json.dumps({"data": {"who": "Ann Lee", "when": "2026-03-03"}}), "utf-8")
    outcome = run_cli("verify", str(answer), str(source))
    assert outcome.code == 0, outcome.err
    assert "3 March 2026" in outcome.out
    assert "all found" in outcome.err


def test_what_is_missing_is_named_and_the_command_fails(run_cli: RunCli, source: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps({"data": {"who": "Bob"}})))
    outcome = run_cli("verify", "-", str(source), "--json")
    assert outcome.code == 1
    done = json.loads(outcome.out)
    assert done["missing"] == [{"path": "$.data.who", "value": "Bob", "kind": "value"}]
    assert not done["supported"]


def test_an_answer_that_is_no_json_or_has_several_results_is_refused(run_cli: RunCli, source: Path, tmp_path: Path):
    answer = tmp_path / "answer.json"
    answer.write_text("who: Ann", "utf-8")
    assert "does not hold JSON" in run_cli("verify", str(answer), str(source)).err
    answer.write_text('{"results": []}', "utf-8")
    assert "several texts" in run_cli("verify", str(answer), str(source)).err
    assert "Cannot read" in run_cli("verify", str(tmp_path / "none"), str(source)).err
