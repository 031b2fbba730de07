"""Tuning a model: the winner lies beside the published weights with every measurement, or nothing has changed."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from tests.unit.tuning.test_tuner import QUICK, by_format
from tests.unit.tuning.tuning_fakes import SAMPLES, FakeLab, rates
from tools_server.errors import TuningFailed
from tools_server.models import FileSource, ModelManifest, ModelStore, TunedRecord
from tools_server.models.manifest import dump_manifest
from tools_server.settings import Settings
from tools_server.tuning.tune import Options, run_tuning

ALL = ("Q4_0", "Q8_0", "BF16", "F16")
WEIGHTS = b"published weights"


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    original = tmp_path / "original"
    original.write_bytes(WEIGHTS)
    manifest = ModelManifest(
        id="tiny",
        sha256=hashlib.sha256(WEIGHTS).hexdigest(),
        size_bytes=len(WEIGHTS),
        source=(FileSource(kind="file", path=original),),
        licence="Apache-2.0",
        openness="weights",
        context_tokens=64,
    )
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "tiny.toml").write_text(dump_manifest(manifest), "utf-8")
    store = ModelStore(cache_dir=tmp_path / "cache", manifest_dirs=[tmp_path / "manifests"])
    store.pull("tiny")
    return store


@pytest.fixture
def tune(store: ModelStore) -> Callable[..., TunedRecord]:
    def tune(lab: FakeLab, *, quick: bool = True, dry_run: bool = False, **settings: int) -> TunedRecord:
        return run_tuning(
            store,
            Settings(model="tiny", context_tokens=512, **settings),  # type: ignore[arg-type]
            samples=SAMPLES,
            options=Options(ALL, quick=quick, dry_run=dry_run),
            make_lab=lambda: lab,
            told=lambda _done, _all, _what: None,
        )

    return tune


def files(store: ModelStore) -> list[str]:
    return sorted(path.name for path in store.path("tiny").parent.iterdir() if not path.name.startswith("."))


def test_the_winner_is_kept_sealed_and_served(store: ModelStore, tune: Callable[..., TunedRecord]):
    record = tune(FakeLab(by_format))
    assert record.format == "BF16"
    assert record.gain.prefill == pytest.approx(1700 / 500)
    serving = store.serving("tiny")
    assert serving.path.read_text() == "BF16 of tiny.gguf"
    assert serving.engine == record.engine
    assert files(store) == [
        "tiny.gguf",
        "tiny.gguf.verified.json",
        "tiny.tuned-BF16.gguf",
        "tiny.tuned-BF16.gguf.verified.json",
        "tuned.json",
    ]


def test_the_record_says_why_and_has_every_measurement(store: ModelStore, tune: Callable[..., TunedRecord]):
    tune(FakeLab(by_format, wrong={"BF16": 20}, unwritable=frozenset({"F16"})))
    written = json.loads(store.tuned("tiny").record_path.read_text("utf-8"))
    assert "of the time of Q4_1 for a mix of 80% prefill" in written["why"]
    assert "100.0% of 40 labels are the same" in written["why"]
    [run] = written["report"]["runs"]
    assert [row["candidate"] for row in run] == ["Q4_1", "Q4_0", "Q8_0", "BF16"]
    assert run[0]["prefill"] == {"low": 500, "median": 500, "high": 500}
    assert written["report"]["left_out"] == {"F16": "cannot write F16."}
    by_name = {row["candidate"]: row["objection"] for row in written["report"]["quality"]}
    assert "accuracy fell" in by_name["BF16"]
    assert by_name["Q4_0"] is None


def test_a_dry_run_keeps_nothing(store: ModelStore, tune: Callable[..., TunedRecord]):
    assert tune(FakeLab(by_format), dry_run=True).format == "BF16"
    assert files(store) == ["tiny.gguf", "tiny.gguf.verified.json"]


def test_where_nothing_is_better_the_record_says_so_and_the_published_weights_are_served(
    store: ModelStore, tune: Callable[..., TunedRecord]
):
    record = tune(FakeLab(lambda _: rates(500)))
    assert record.file is None
    assert "more than 3 % faster" in record.why
    assert record.summary == "Q4_1 as published, 1.0 × prefill, 1.0 × decode"
    assert store.serving("tiny").path == store.path("tiny")


def test_a_full_run_tunes_the_engine_as_well(store: ModelStore, tune: Callable[..., TunedRecord]):
    lab = FakeLab(lambda it: rates(900 if it.engine.batch_tokens == 1024 else 500, QUICK))
    assert tune(lab, quick=False).engine.batch_tokens == 1024
    serving = store.serving("tiny")
    assert serving.engine
    assert serving.engine.batch_tokens == 1024
    assert lab.visits[-1] == "closed"


def test_a_memory_limit_of_the_settings_leaves_large_formats_out(store: ModelStore, tune: Callable[..., TunedRecord]):
    record = tune(FakeLab(by_format), memory_limit_mb=1)
    assert set(record.report["left_out"]) == set(ALL)


def test_two_runs_at_once_would_disturb_each_other(store: ModelStore, tune: Callable[..., TunedRecord]):
    with (
        FileLock(store.path("tiny").parent / ".tuning.lock"),
        pytest.raises(TuningFailed, match="Another run is tuning tiny"),
    ):
        tune(FakeLab(by_format))


def test_a_failed_run_leaves_no_half_work(store: ModelStore, tune: Callable[..., TunedRecord]):
    class Breaks(FakeLab):
        def answers(self, *_: object) -> list[None]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(Breaks(by_format))
    assert files(store) == ["tiny.gguf", "tiny.gguf.verified.json"]
