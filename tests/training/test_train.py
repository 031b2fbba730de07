"""From samples to a version that serves, on the small real model; and what is refused on the way."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.training.conftest import MODEL
from tools_server.app import build_app
from tools_server.bundled import bundled_dir
from tools_server.cli.train import parse_budget
from tools_server.errors import DataInvalid, SamplesInvalid, TrainingFailed, TrainingInterrupted
from tools_server.settings import Settings, load_settings
from tools_server.skills.adapters import find_version
from tools_server.skills.interface import Common
from tools_server.skills.loader import load_skill
from tools_server.skills.types import Skill
from tools_server.training.plan import read_plan
from tools_server.training.sources import gather_data, parse_source
from tools_server.training.train import Options, Outcome, run_training
from tools_server.training.types import Hyperparameters, Progress

QUICK = Hyperparameters(rank=4, batch_samples=8, rows=4, row_tokens=128, epochs=2, evaluations=2, learning_rate=2e-3)
ROOT = Path(__file__).parents[2]
COLOURS = {
    "red": ("tomato", "blood", "fire engine"),
    "blue": ("sky", "sea", "sapphire"),
    "green": ("grass", "leaf", "frog"),
}


@pytest.fixture
def skill(tmp_path: Path) -> Skill:
    """A skill with three fixed labels that mean what the model would not guess."""
    folder = tmp_path / "skills" / "colour"
    shutil.copytree(bundled_dir("skills") / "banking_intent", folder)
    shutil.rmtree(folder / "evals")
    manifest = (folder / "skill.toml").read_text("utf-8").replace("banking_intent", "colour")
    (folder / "skill.toml").write_text(manifest)
    (folder / "SKILL.md").unlink()
    (folder / "training.toml").write_text('train = ["samples.jsonl"]\n')
    schema = {
        "type": "object",
        "properties": {"label": {"enum": list(COLOURS)}},
        "required": ["label"],
        "additionalProperties": False,
    }
    (folder / "output.schema.json").write_text(json.dumps(schema))
    found = load_skill(folder, Common())
    assert isinstance(found, Skill), found
    return found


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(
        {
            "model": MODEL,
            "in_process": True,
            "skills_dirs": (tmp_path / "skills",),
            "adapters_dir": tmp_path / "adapters",
            "context_tokens": 2048,
        }
    )


def write_samples(path: Path, *, leave_out: str = "") -> Path:
    rows = [
        {"text": f"{start} {thing}{end}", "expected": {"label": colour}}
        for colour, things in COLOURS.items()
        if colour != leave_out
        for thing in things
        for start in ("The", "One", "Some")
        for end in ("", "!", ", please")
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def data_of(skill: Skill, settings: Settings, *paths: Path):
    return gather_data(skill, [parse_source(str(path)) for path in paths], [], settings, seed=0)


@pytest.mark.parametrize("layers", [None, 12])
async def test_samples_become_a_version_that_serves_what_was_learnt(
    skill: Skill, settings: Settings, tmp_path: Path, layers: int | None
):
    data = data_of(skill, settings, write_samples(tmp_path / "samples.jsonl"))
    told: list[Progress] = []
    out = tmp_path / "run"
    hyper = replace(QUICK, layers=layers)
    outcome = run_training(
        skill, data, settings, hyper, Options(threads=2, folder=out), told=told.append, said=lambda _: None
    )
    assert outcome.proof.adapter.kl_max < 1e-4 < outcome.proof.effect.kl_max
    assert told[-1].dev_loss is not None
    assert not out.exists()  # nothing is left of a run that ended
    version = find_version(settings.adapters_dir, skill.name, MODEL, outcome.version.name)
    origin = version.provenance
    assert (origin.kind, origin.rank, origin.seed, origin.prompt_digest) == ("lora", 4, 0, skill.prompt_digest)
    assert [(use.dataset, use.records) for use in origin.data] == [(str(tmp_path / "samples.jsonl"), 81)]
    assert origin.scores["kl_to_torch"] < 1e-4

    app = build_app(settings)
    try:
        bare = await app.runner.run(skill, {"text": "Many tomato"})
        trained = replace(skill, adapters={MODEL: version.adapter})
        learnt = await app.runner.run(trained, {"text": "Many tomato"})
    finally:
        await app.gate.aclose()
    assert learnt.data["label"] == "red"
    assert learnt.data["scores"]["red"] > bare.data["scores"]["red"]


def test_a_label_without_samples_is_named_before_anything_is_trained(skill: Skill, settings: Settings, tmp_path: Path):
    with pytest.raises(TrainingFailed, match="1 of the 3 labels of `colour` have no training sample: 'blue'"):
        data_of(skill, settings, write_samples(tmp_path / "samples.jsonl", leave_out="blue"))


def test_a_text_with_two_answers_is_refused_with_both_places(skill: Skill, settings: Settings, tmp_path: Path):
    path = write_samples(tmp_path / "samples.jsonl")
    with path.open("a") as file:
        file.write('{"text": "the  TOMATO", "expected": {"label": "blue"}}\n')
    with pytest.raises(
        DataInvalid, match=r"samples.jsonl:82: the text of .*samples.jsonl:1 again, with another answer"
    ):
        data_of(skill, settings, path)


def test_a_label_that_the_skill_does_not_have_is_refused_by_its_line(skill: Skill, settings: Settings, tmp_path: Path):
    path = write_samples(tmp_path / "samples.jsonl")
    with path.open("a") as file:
        file.write('{"text": "a lemon", "expected": {"label": "yellow"}}\n')
    with pytest.raises(SamplesInvalid, match=r"samples.jsonl:82"):
        data_of(skill, settings, path)


def test_a_run_that_did_not_fit_into_memory_is_refused_with_both_numbers(
    skill: Skill, settings: Settings, tmp_path: Path
):
    data = data_of(skill, settings, write_samples(tmp_path / "samples.jsonl"))
    huge = replace(QUICK, rank=256, rows=100_000)
    with pytest.raises(TrainingFailed, match=r"would take about [\d.]+ GB; [\d.]+ GB are free"):
        run_training(skill, data, settings, huge, Options(folder=tmp_path), told=lambda _: None, said=lambda _: None)


def test_a_run_that_was_begun_is_not_begun_again_by_accident(skill: Skill, settings: Settings, tmp_path: Path):
    data = data_of(skill, settings, write_samples(tmp_path / "samples.jsonl"))
    (tmp_path / "checkpoint.pt").write_bytes(b"")
    with pytest.raises(TrainingFailed, match="was begun before and did not end") as caught:
        run_training(skill, data, settings, QUICK, Options(folder=tmp_path), told=lambda _: None, said=lambda _: None)
    assert "--resume" in caught.value.hint


def test_a_budget_that_cuts_the_steps_says_so_and_leaves_one_at_least(skill: Skill, settings: Settings, tmp_path: Path):
    data = data_of(skill, settings, write_samples(tmp_path / "samples.jsonl"))
    said: list[str] = []
    outcome = run_training(
        skill,
        data,
        settings,
        QUICK,
        Options(threads=2, folder=tmp_path / "run", budget_s=0.001),
        told=lambda _: None,
        said=said.append,
    )
    assert outcome.result.steps == 1
    assert any(line.startswith("the budget is for 1 of the ") for line in said)


def test_an_interrupted_run_can_be_finished_with_its_best_step(skill: Skill, settings: Settings, tmp_path: Path):
    data = data_of(skill, settings, write_samples(tmp_path / "samples.jsonl"))
    options = Options(threads=2, folder=tmp_path / "run")
    told: list[Progress] = []

    def run(options: Options, steps: int = 0) -> Outcome:
        return run_training(
            skill,
            data,
            settings,
            QUICK,
            options,
            told=told.append,
            said=lambda _: None,
            should_stop=lambda: 0 < steps <= len(told),
        )

    with pytest.raises(TrainingFailed, match="nothing to finish: no run was interrupted"):
        run(replace(options, finish=True))
    with pytest.raises(TrainingInterrupted):
        run(options, steps=1)
    with pytest.raises(TrainingFailed, match="nothing to finish: step 1 was reached"):
        run(replace(options, finish=True))
    with pytest.raises(TrainingInterrupted):
        run(replace(options, resume=True), steps=told[0].steps - 2)
    outcome = run(replace(options, finish=True))
    assert outcome.result.steps == told[0].steps - 2
    assert outcome.result.best_step == outcome.result.history[0]["step"]
    assert find_version(settings.adapters_dir, skill.name, MODEL, outcome.version.name)


def test_a_plan_names_an_unknown_hyperparameter(skill: Skill):
    (skill.folder / "training.toml").write_text("[models.some-model]\nepochz = 3\n")
    with pytest.raises(TrainingFailed, match=r"models\.some-model\.epochz is no hyper-parameter"):
        read_plan(skill).hyper("some-model", {})


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('choose_by = "rihgt"', r"models\.m\.choose_by is 'rihgt': Input should be 'loss', 'right' or 'last'"),
        ('epochs = "many"', r"models\.m\.epochs is 'many': Input should be a valid number"),
    ],
)
def test_a_plan_names_a_value_that_a_hyperparameter_cannot_have(skill: Skill, line: str, told: str):
    (skill.folder / "training.toml").write_text(f"[models.m]\n{line}\n")
    with pytest.raises(TrainingFailed, match=told):
        read_plan(skill).hyper("m", {})


def test_flags_come_before_the_plan_and_the_plan_before_the_defaults(skill: Skill):
    (skill.folder / "training.toml").write_text('test = ["a:test"]\n[models.m]\nepochs = 7.0\nrank = 2\n')
    hyper = read_plan(skill).hyper("m", {"rank": 32, "epochs": None})
    assert (hyper.rank, hyper.epochs, hyper.dropout) == (32, 7.0, Hyperparameters().dropout)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("1.5m", 90), ("2h", 7200)])
def test_a_budget_is_read_in_seconds_minutes_or_hours(text: str, seconds: float):
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "0m", "-5m", "soon"])
def test_a_budget_that_is_no_time_is_refused(text: str):
    with pytest.raises(TrainingFailed, match="is no time"):
        parse_budget(text)


def test_a_run_that_was_killed_resumes_to_the_very_same_file(skill: Skill, tmp_path: Path):
    write_samples(tmp_path / "skills" / "samples.jsonl")
    flags = {"model": MODEL, "skills_dirs": [str(tmp_path / "skills")], "adapters_dir": str(tmp_path / "adapters")}
    (tmp_path / "flags.json").write_text(json.dumps(flags))

    def start(mode: str, folder: str) -> subprocess.Popen[str]:
        command = [
            sys.executable,
            "-m",
            "tests.training.run_once",
            str(tmp_path / "flags.json"),
            str(tmp_path / folder),
        ]
        return subprocess.Popen([*command, mode], cwd=ROOT, stdout=subprocess.PIPE, text=True)

    whole, _ = start("anew", "whole").communicate(timeout=600)
    killed = start("anew", "killed")
    assert killed.stdout is not None
    for line in killed.stdout:
        if line.strip() == "step 4":
            break
    killed.kill()
    killed.communicate(timeout=60)
    resumed, _ = start("resume", "killed").communicate(timeout=600)
    assert "step 3\n" not in resumed  # its checkpoint was whole before step 4 was told of
    assert whole.splitlines()[-1].startswith("sha256 ")
    assert resumed.splitlines()[-1] == whole.splitlines()[-1]
