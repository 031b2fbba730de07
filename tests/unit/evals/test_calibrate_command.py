"""`skills calibrate`, from its flags to a call that is answered with what was fitted."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio.to_thread
import pytest
import typer
from typer.testing import CliRunner, Result

from tests.unit.evals.evals_fakes import BASE, LABELS, MODEL, on_a_scripted_model, write_lines
from tools_server.bundled import bundled_dir
from tools_server.calls.engine_gate import EngineGate
from tools_server.calls.run_skill import SkillRunner
from tools_server.cli import calibrate
from tools_server.engine.scripted import ScriptedBackend, ScriptedEngine, saying
from tools_server.errors import EvaluationImpossible, ManifestInvalid
from tools_server.evals.calibrating import Order
from tools_server.evals.variants import Adapters
from tools_server.models import ModelStore
from tools_server.settings import Settings
from tools_server.skills.calibration import CalibrationFile
from tools_server.skills.catalog import Catalog, standard_dirs

pytest.importorskip("sklearn")


def engine() -> ScriptedEngine:
    """A model that says `bug` to everything, and is as sure of it as a scripted one is."""
    return ScriptedEngine(backend=ScriptedBackend(saying("bug"), context_tokens=16384, model_id=MODEL, sha256=BASE))


class Command:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.loads = 0
        self._app = typer.Typer()
        self._app.command("calibrate", epilog=calibrate.EXAMPLES)(calibrate.calibrate)

    def load(self, _settings: Settings, _store: ModelStore) -> ScriptedEngine:
        self.loads += 1
        return engine()

    def __call__(self, *words: str) -> Result:
        return CliRunner().invoke(self._app, [*words, "--model", MODEL])


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    made = Command(tmp_path)
    on_a_scripted_model(monkeypatch, tmp_path, made.load)
    return made


@pytest.fixture
def mine(tmp_path: Path) -> str:
    rows = [
        {"text": f"text {n}", "labels": LABELS, "expected": {"label": "bug" if n % 4 else "praise"}} for n in range(240)
    ]
    return str(write_lines(tmp_path / "mine.jsonl", *map(json.dumps, rows)))


async def classified(**arguments: Any) -> Mapping[str, Any]:
    settings = Settings(adapters_dir=arguments.pop("adapters_dir"))
    skill = Catalog(standard_dirs(settings), adapters_dir=settings.adapters_dir).get("classify")
    gate = EngineGate(engine)
    try:
        return (await SkillRunner(gate, settings).run(skill, {"labels": LABELS, **arguments})).data
    finally:
        await gate.aclose()


async def test_what_was_fitted_is_served_from_then_on(command: Command, mine: str):
    adapters_dir = command.folder / "adapters"
    before = await classified(text="text 1", adapters_dir=adapters_dir, detail="full")
    assert before["calibration"] is None
    assert before["confidence"] == pytest.approx(before["signals"]["confidence"], abs=1e-4)
    words = ("classify", "--data", mine, "--target-accuracy", "0.6", "--json")
    done = await anyio.to_thread.run_sync(lambda: command(*words))
    assert done.exception is None, done.exception
    found = json.loads(done.stdout)
    assert found["file"] == str(adapters_dir / "classify" / "calibration.json")
    fitted = found["calibration"]
    assert fitted["fitted"] == fitted["checked"] == 120
    assert fitted["tasks"] is False, "all samples have the same labels"
    assert fitted["after"]["ece"] < 0.1 < fitted["before"]["ece"]
    assert fitted["threshold"]["confidence"] is not None
    after = await classified(text="text 1", adapters_dir=adapters_dir, detail="full")
    assert after["label"] == before["label"] == "bug"
    assert after["confidence"] == pytest.approx(0.75, abs=0.12)
    assert after["signals"] == before["signals"], "they are the model's own"
    assert after["calibration"]["samples"] == 240
    assert "deferred" not in after
    brief = await classified(text="text 1", adapters_dir=adapters_dir, min_confidence=0.95)
    assert brief["deferred"] is True
    assert "signals" not in brief
    several = await classified(text="text 1", adapters_dir=adapters_dir, multi_label=True, detail="full")
    assert several["calibration"] is None, "it was fitted on choices of one label"


def test_people_are_told_what_came_of_it_and_nothing_is_asked_twice(command: Command, mine: str):
    done = command("classify", "--data", mine, "--target-accuracy", "0.99")
    assert done.exception is None, done.exception
    assert "expected calibration error" in done.stdout
    assert "no threshold shows 99.0% right answers" in done.stderr
    folder = command.folder / "cache" / "calibrations" / f"classify-mine.jsonl-mine-{MODEL}"
    assert {each.name for each in folder.iterdir()} == {
        "answers.jsonl",
        "calibration.json",
        "coverage.svg",
        "reliability.svg",
    }
    before = folder.joinpath("answers.jsonl").read_bytes()
    assert command("classify", "--data", mine, "--target-accuracy", "0.6").exception is None
    assert folder.joinpath("answers.jsonl").read_bytes() == before
    assert "below" in command("classify", "--data", mine, "--target-accuracy", "0.6").stderr


@pytest.mark.parametrize(("before", "after", "told"), [(0.160, 0.164, True), (0.160, 0.140, False)])
def test_a_map_that_is_no_truer_than_the_model_is_told_of(
    before: float, after: float, told: bool, capsys: pytest.CaptureFixture[str]
):
    found = SimpleNamespace(
        **{"model": MODEL, "method": "logistic", "fitted": 148, "checked": 148, "threshold": None, "new_tasks": ()},
        before=SimpleNamespace(ece=0.09, auroc=0.7, brier=before),
        after=SimpleNamespace(ece=0.12, auroc=0.7, brier=after),
    )
    report: Any = SimpleNamespace(skill="triage", calibration=found, failed=0)
    calibrate._show(report, Path("calibration.json"), Path("folder"), as_json=False)
    assert ("no truer than the model's own" in capsys.readouterr().err) is told


def test_a_broken_file_of_ones_own_is_told_of_before_minutes_are_spent(command: Command, mine: str):
    own = command.folder / "adapters" / "classify" / "calibration.json"
    own.parent.mkdir(parents=True)
    own.write_text("{", "utf-8")
    done = command("classify", "--data", mine)
    assert isinstance(done.exception, ManifestInvalid)
    assert str(own) in str(done.exception)
    assert command.loads == 0


def test_several_sets_are_one_calibration_that_names_them_all(command: Command, mine: str, tmp_path: Path):
    other = tmp_path / "other.jsonl"
    other.write_text(Path(mine).read_text("utf-8").replace("billing", "question"), "utf-8")
    done = command("classify", "--data", mine, "--data", str(other), "--limit", "100", "--json")
    assert done.exception is None, done.exception
    fitted = json.loads(done.stdout)["calibration"]
    data = {each["dataset"]: each["samples"] for each in fitted["data"]}
    assert data == {"mine.jsonl": 100, "other.jsonl": 100}
    assert fitted["tasks"] is True
    assert [(each["dataset"], each["samples"], each["right"]) for each in fitted["new_tasks"]] == [
        ("mine.jsonl", 100, 0.6),
        ("other.jsonl", 100, 0.6),
    ]
    assert all(each["after"]["ece"] < 0.1 < each["before"]["ece"] for each in fitted["new_tasks"])
    told = command("classify", "--data", mine, "--data", str(other), "--limit", "100").stdout
    assert "for new tasks" in told
    assert "other.jsonl:other" in told
    assert CalibrationFile.model_validate({"calibrations": [fitted]})


def test_skills_and_samples_without_a_confidence_are_refused(command: Command, tmp_path: Path):
    rows = [{"text": f"text {n}", "expected": {"summary": "a text"}} for n in range(3)]
    path = str(write_lines(tmp_path / "texts.jsonl", *map(json.dumps, rows)))
    done = command("summarise", "--data", path)
    assert isinstance(done.exception, EvaluationImpossible)
    assert "no confidence" in str(done.exception)
    rows = [{"text": "a", "labels": LABELS, "multi_label": True, "expected": {"labels": ["bug"]}}]
    path = str(write_lines(tmp_path / "several.jsonl", *map(json.dumps, rows)))
    done = command("classify", "--data", path)
    assert isinstance(done.exception, EvaluationImpossible)
    assert "one label" in str(done.exception)


def test_a_method_that_there_is_not_is_named(command: Command, mine: str):
    done = command("classify", "--data", mine, "--method", "magic")
    assert done.exit_code == 2
    assert "'magic' is none of auto, temperature, logistic, isotonic" in done.output


@pytest.mark.parametrize(("added", "empty"), [("recognise", {}), ("everywhere", ())])
def test_answers_that_are_kept_are_not_used_once_code_adds_other_things_to_them(
    tmp_path: Path, added: str, empty: object
):
    served = Catalog([bundled_dir("skills")]).get("find_pii")
    generate = served.manifest.generate.model_copy(update={added: empty})
    other = replace(served, manifest=served.manifest.model_copy(update={"generate": generate}))
    first, second, uncalibrated = (
        Order(Adapters(skill, skill, tmp_path, MODEL, BASE), data=(), base_sha256=BASE, weights="w").skill.digest
        for skill in (served, other, replace(served, digest="0" * 64))
    )
    assert served.prompt_digest == other.prompt_digest
    assert first != second
    assert first == uncalibrated, "what was calibrated before changes nothing"
