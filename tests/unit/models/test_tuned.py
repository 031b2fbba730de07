"""Tuned weights: served only where they were measured, whole, and made from the pinned weights; else the published."""

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools_server.models import EngineChoice, Gain, Machine, ModelManifest, ModelStore, TunedFile, TunedRecord
from tools_server.settings import Settings

TUNED = b"the same weights, written in another way"


@pytest.fixture
def manifest(store: ModelStore, publish: Callable[..., ModelManifest], gguf: Callable[..., bytes]) -> ModelManifest:
    made = publish(gguf())
    store.pull("tiny")
    return made


def record(manifest: ModelManifest, **changes: Any) -> TunedRecord:
    values: dict[str, Any] = {
        "model": manifest.id,
        "source_sha256": manifest.sha256,
        "machine": Machine.here(),
        "format": "BF16",
        "file": TunedFile(name="tiny.tuned-BF16.gguf", sha256=hashlib.sha256(TUNED).hexdigest(), size_bytes=len(TUNED)),
        "engine": EngineChoice(batch_tokens=256),
        "gain": Gain(prefill=3.24, decode=0.9, call=1.6),
        "why": "it was the fastest",
        "report": {},
    }
    return TunedRecord(**(values | changes))


def keep(store: ModelStore, it: TunedRecord) -> Path:
    kept = store.tuned("tiny")
    if it.file is not None:
        kept.file_path(it.file).write_bytes(TUNED)
    kept.write(it)
    return kept.file_path(it.file) if it.file else kept.record_path


def test_tuned_weights_are_served_with_their_settings(store: ModelStore, manifest: ModelManifest):
    path = keep(store, record(manifest))
    serving = store.serving("tiny")
    assert serving.path == path
    assert serving.engine == EngineChoice(batch_tokens=256)


def test_the_identity_of_the_model_stays_that_of_the_published_weights(store: ModelStore, manifest: ModelManifest):
    keep(store, record(manifest))
    assert store.manifest("tiny").sha256 == manifest.sha256
    assert store.path("tiny") != store.serving("tiny").path


def test_published_weights_are_served_when_nothing_was_tuned_or_tuning_is_off(
    store: ModelStore, manifest: ModelManifest, caplog: pytest.LogCaptureFixture
):
    assert store.serving("tiny").path == store.path("tiny")
    keep(store, record(manifest))
    serving = store.serving("tiny", tuned=False)
    assert (serving.path, serving.engine) == (store.path("tiny"), None)
    assert caplog.messages == []


def test_a_record_without_a_file_serves_the_published_weights_with_its_settings(
    store: ModelStore, manifest: ModelManifest
):
    keep(store, record(manifest, file=None))
    serving = store.serving("tiny")
    assert serving.path == store.path("tiny")
    assert serving.engine == EngineChoice(batch_tokens=256)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"source_sha256": "0" * 64}, "made from other weights"),
        ({"machine": Machine.here().model_copy(update={"cpu": "Zilog Z80"})}, "cpu: Zilog Z80 then, "),
        (
            {"machine": Machine.here().model_copy(update={"llama_cpp_python": "0.0.1"})},
            "llama_cpp_python: 0.0.1 then, ",
        ),
        ({"machine": Machine.here().model_copy(update={"cores": 999})}, "cores: 999 then, "),
    ],
)
def test_a_record_of_another_place_is_left_out_and_the_log_says_why(
    store: ModelStore,
    manifest: ModelManifest,
    caplog: pytest.LogCaptureFixture,
    changes: dict[str, Any],
    said: str,
):
    keep(store, record(manifest, **changes))
    assert store.serving("tiny").path == store.path("tiny")
    assert len(caplog.messages) == 1
    assert said in caplog.messages[0]
    assert "tools-server models tune tiny" in caplog.messages[0]


def test_a_tuned_file_that_is_gone_or_cut_short_is_left_out(
    store: ModelStore, manifest: ModelManifest, caplog: pytest.LogCaptureFixture
):
    path = keep(store, record(manifest))
    path.write_bytes(TUNED[:-1])
    assert store.serving("tiny").path == store.path("tiny")
    path.unlink()
    assert store.serving("tiny").path == store.path("tiny")
    assert all("gone or not whole" in message for message in caplog.messages)


def test_a_tuned_file_that_was_exchanged_is_noticed_by_its_hash(
    store: ModelStore, manifest: ModelManifest, caplog: pytest.LogCaptureFixture
):
    path = keep(store, record(manifest))
    path.write_bytes(TUNED[::-1])
    assert store.serving("tiny").path == store.path("tiny")
    assert "is not the file that was measured" in caplog.text


def test_a_tuned_file_that_was_only_touched_is_hashed_once_and_served(store: ModelStore, manifest: ModelManifest):
    path = keep(store, record(manifest))
    path.touch()
    assert store.serving("tiny").path == path
    seal = path.with_name(path.name + ".verified.json")
    assert json.loads(seal.read_text("utf-8"))["mtime_ns"] == path.stat().st_mtime_ns


def test_an_unreadable_record_is_no_record(
    store: ModelStore, manifest: ModelManifest, caplog: pytest.LogCaptureFixture
):
    keep(store, record(manifest))
    store.tuned("tiny").record_path.write_text('{"version": 99}', "utf-8")
    with caplog.at_level(logging.WARNING):
        assert store.serving("tiny").path == store.path("tiny")
    assert "ignoring the unreadable" in caplog.text


def test_a_new_record_takes_the_file_of_the_last_one_away_and_removal_takes_all(
    store: ModelStore, manifest: ModelManifest
):
    first = keep(store, record(manifest))
    file = TunedFile(name="tiny.tuned-Q8_0.gguf", sha256=hashlib.sha256(TUNED).hexdigest(), size_bytes=len(TUNED))
    second = keep(store, record(manifest, file=file, format="Q8_0"))
    assert not first.exists()
    assert second.exists()
    assert store.tuned("tiny").remove()
    assert not second.exists()
    assert not store.tuned("tiny").remove()
    assert sorted(path.name for path in second.parent.iterdir()) == ["tiny.gguf", "tiny.gguf.verified.json"]


def test_keeping_a_record_again_keeps_its_file(store: ModelStore, manifest: ModelManifest):
    keep(store, record(manifest))
    path = keep(store, record(manifest, why="it still is"))
    assert store.serving("tiny").path == path


def test_what_the_user_set_stands_above_what_was_tuned():
    choice = EngineChoice(batch_tokens=128, flash_attention=False, kv_type="q8_0")
    settings = choice.applied_to(Settings(batch_tokens=1024))
    assert settings.batch_tokens == 1024
    assert settings.flash_attention is False
    assert settings.kv_type == "q8_0"


def test_the_status_tells_the_gain_and_the_objection(store: ModelStore, manifest: ModelManifest):
    assert store.list()[0].tuned is None
    keep(store, record(manifest))
    status = store.list()[0]
    assert status.tuned
    assert status.tuned.summary == "BF16, 3.2 × prefill, 0.9 × decode"
    assert status.objection is None
    keep(store, record(manifest, source_sha256="0" * 64))
    assert "other weights" in (store.list()[0].objection or "")


def test_the_fingerprint_reads_processor_and_instruction_sets(tmp_path: Path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor : 0\nmodel name\t: Some CPU 9000\nflags\t\t: b a c\n", "utf-8")
    one = Machine.here(cpuinfo)
    assert one.cpu == "Some CPU 9000"
    cpuinfo.write_text("model name : Some CPU 9000\nflags : c b a\n", "utf-8")
    assert Machine.here(cpuinfo) == one
    cpuinfo.write_text("model name : Some CPU 9000\nflags : c b\n", "utf-8")
    assert [each.split(":")[0] for each in Machine.here(cpuinfo).differences(one)] == ["flags"]
    assert Machine.here(tmp_path / "none").flags == ""
