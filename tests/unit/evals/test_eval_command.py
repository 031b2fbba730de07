"""`skills eval`, from its flags to its files."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from tests.unit.evals.evals_fakes import BASE, LABELS, MODEL, on_a_scripted_model, write_lines
from tools_server.cli import evals
from tools_server.engine.scripted import ScriptedBackend, ScriptedEngine, saying
from tools_server.engine.types import Adapter
from tools_server.errors import EvaluationImpossible, ModelNotFound, SkillNotFound
from tools_server.models import ModelStore
from tools_server.settings import Settings


class Command:
    """`skills eval` on a scripted model that says `bug`, and `praise` under any adapter."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.loads: list[Settings] = []
        self._app = typer.Typer()
        self._app.command("eval", epilog=evals.EXAMPLES)(evals.evaluate_skill)

    def load(self, settings: Settings, _store: ModelStore) -> ScriptedEngine:
        self.loads.append(settings)

        def script(text: str, adapter: Adapter | None) -> str:
            return saying("praise" if adapter else "bug")(text, adapter)

        backend = ScriptedBackend(script, context_tokens=16384, model_id=MODEL, sha256=BASE)
        return ScriptedEngine(backend=backend)

    def __call__(self, *words: str) -> Result:
        return CliRunner().invoke(self._app, [*words, "--model", MODEL])

    def json(self, *words: str) -> dict[str, Any]:
        done = self(*words, "--json")
        assert done.exception is None, done.exception
        return json.loads(done.stdout)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    made = Command(tmp_path)
    on_a_scripted_model(monkeypatch, tmp_path, made.load)
    return made


@pytest.fixture
def mine(tmp_path: Path) -> str:
    rows = [
        {"text": f"text {n}", "labels": LABELS, "expected": {"label": "praise" if n % 3 else "bug"}} for n in range(24)
    ]
    return str(write_lines(tmp_path / "mine.jsonl", *map(json.dumps, rows)))


@pytest.fixture
def adapter(tmp_path: Path) -> str:
    path = tmp_path / "new.gguf"
    path.write_bytes(b"GGUF")
    return str(path)


def test_a_skill_is_scored_on_a_file_and_nothing_is_asked_twice(command: Command, mine: str):
    found = command.json("classify", "--data", mine)
    assert found["variants"]["bare"]["metrics"]["accuracy"]["value"] == pytest.approx(8 / 24, abs=1e-4)
    assert found["variants"]["bare"]["latency_s"]["calls"] == 24
    folder = Path(found["folder"])
    assert folder == command.folder / "cache" / "evaluations" / f"classify-mine.jsonl-mine-{MODEL}"
    pictures = {"report.svg", "reliability.svg", "coverage.svg", "confusion.svg"}
    assert {path.name for path in folder.iterdir()} == {"answers.jsonl", "report.json", "report.md", *pictures}
    assert command.json("classify", "--data", mine)["variants"] == found["variants"]
    assert len(command.loads) == 1
    assert command.loads[0].in_process


def test_several_sets_are_scored_together(command: Command, mine: str, tmp_path: Path):
    other = write_lines(
        tmp_path / "other.jsonl", json.dumps({"text": "one more", "labels": LABELS, "expected": {"label": "bug"}})
    )
    found = command.json("classify", "--data", mine, "--data", str(other), "--no-latency")
    assert found["data"]["name"] == "mine.jsonl+other.jsonl"
    assert found["data"]["samples"] == 25
    assert found["variants"]["bare"]["metrics"]["accuracy"]["value"] == pytest.approx(9 / 25, abs=1e-4)


def test_what_a_caller_gets_who_asks_for_confidence_is_scored_without_asking_the_model_again(
    command: Command, mine: str
):
    own = command.json("classify", "--data", mine, "--no-latency")
    assert "kept" not in own["variants"]["bare"]["metrics"]  # all are of one confidence, and nothing asks for more
    found = command.json("classify", "--data", mine, "--no-latency", "--min-confidence", "1")
    assert found["min_confidence"] == 1
    assert found["variants"]["bare"]["metrics"]["kept"]["value"] == 0
    assert len(command.loads) == 1
    assert "Deferred: below 1." in (Path(found["folder"]) / "report.md").read_text("utf-8")
    refused = command("classify", "--data", mine, "--min-confidence", "1", "--write-card")
    assert refused.exit_code == 2
    assert "what a skill does by itself" in refused.output
    none = command("summarise", "--min-confidence", "0.5")
    assert isinstance(none.exception, EvaluationImpossible)
    assert "have no confidence" in none.exception.message


def test_two_adapters_are_compared_and_the_evidence_is_written(command: Command, mine: str, adapter: str):
    found = command.json("classify", "--data", mine, "--adapter", adapter, "--compare", "none", "--no-latency")
    assert found["compared"] == {"baseline": "bare", "candidate": "new.gguf"}
    evidence = found["evaluation"]
    assert evidence["metrics"]["accuracy"]["candidate"] == pytest.approx(16 / 24)
    assert json.loads((Path(found["folder"]) / "evaluation.json").read_text("utf-8")) == evidence
    assert found["variants"]["bare"]["latency_s"]["calls"] == 0


def test_people_get_tables(command: Command, mine: str, adapter: str, tmp_path: Path):
    train = write_lines(
        tmp_path / "train.jsonl",
        *(
            json.dumps({"text": f"{word} {n}", "labels": LABELS, "expected": {"label": word}})
            for word in LABELS
            for n in "ab"
        ),
    )
    words = ("--data", mine, "--train", str(train), "--adapter", adapter, "--compare", "none", "--baselines")
    done = command("classify", *words, "--out", str(tmp_path / "out"))
    assert done.exception is None, done.exception
    for shown in (
        "classify on smollm2-135m-instruct: 24 samples of mine.jsonl",
        "new.gguf beside bare",
        "0.667 [",
        "tf-idf",
    ):
        assert shown in done.stdout
    assert "baseline: majority" in done.stderr
    assert str(tmp_path / "out") in done.stderr


def test_the_card_is_written_into_the_skills_folder(command: Command, tmp_path: Path):
    skills = tmp_path / "config" / "skills" / "triage"
    skills.parent.mkdir(parents=True)
    from tools_server.bundled import bundled_dir  # noqa: PLC0415

    source = bundled_dir("skills") / "classify"
    (skills / "evals").mkdir(parents=True)
    for name in ("prompt.jinja", "input.schema.json", "output.schema.json", "evals/eval.toml"):
        (skills / name).write_bytes((source / name).read_bytes())
    manifest, _, _ = (source / "skill.toml").read_text("utf-8").partition("[adapters.")
    (skills / "skill.toml").write_text(manifest.replace('"classify"', '"triage"', 1), "utf-8")
    write_lines(
        skills / "evals" / "samples.jsonl",
        json.dumps({"input": {"text": "x", "labels": LABELS}, "expected": {"label": "bug"}}),
    )
    found = command.json("triage", "--write-card", "--limit", "1")
    assert found["card"] == str(skills / "card.json")
    card = json.loads((skills / "card.json").read_text("utf-8"))
    assert card["models"][MODEL][0]["variants"]["bare"]["metrics"]["accuracy"]["value"] == 1


def test_what_cannot_be_is_refused_before_a_model_is_loaded(command: Command, mine: str):
    assert isinstance(command("clasify").exception, SkillNotFound)
    assert isinstance(command("classify", "--compare", "none").exception, EvaluationImpossible)
    assert isinstance(command("find_pii", "--data", mine).exception, Exception)
    assert command.loads == []


def test_an_interruption_says_where_the_answers_are(command: Command, mine: str, monkeypatch: pytest.MonkeyPatch):
    def interrupted(_settings: Settings, _store: ModelStore) -> ScriptedEngine:
        raise KeyboardInterrupt

    monkeypatch.setattr("tools_server.evals.evaluation.anyio.run", lambda _: interrupted(Settings(), ModelStore))  # type: ignore[arg-type]
    done = command("classify", "--data", mine)
    assert done.exit_code == 130
    assert "the same command goes on from there" in done.stderr


def test_a_model_that_is_not_here_is_told_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("TOOLS_SERVER_CACHE_DIR", str(tmp_path))
    assert isinstance(Command(tmp_path)("classify").exception, ModelNotFound)


def test_the_help_shows_examples(command: Command):
    assert "skills eval classify --data banking77" in command("--help").stdout
