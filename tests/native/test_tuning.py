"""Tuning the real small model: weights in other formats are written, measured, compared, served, and take adapters."""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.native.conftest import MODEL
from tests.native.lora import make_adapter
from tools_server.app import App, build_app, load_engine
from tools_server.data.types import Sample
from tools_server.engine.llama import LlamaEngine
from tools_server.engine.llama_weights import examine, quantise
from tools_server.engine.types import Adapter, Chat, GenerationRequest, Message, Span
from tools_server.errors import ModelLoadFailed, TuningFailed
from tools_server.models import EngineChoice, ModelStore, TunedRecord
from tools_server.settings import KvType, Settings, load_settings
from tools_server.skills.catalog import Catalog, standard_dirs
from tools_server.tuning.lab import Laboratory
from tools_server.tuning.quality import Quality, compare, decisions
from tools_server.tuning.samples import shipped
from tools_server.tuning.tune import Options, run_tuning
from tools_server.tuning.types import Candidate, Workload

LABELS = {"text": "I was charged twice for March.", "labels": ["billing", "delivery", "praise"]}
BRIEF = Workload(prompts=1, prompt_tokens=64, steps=2, depth=16)


@pytest.fixture(scope="module")
def formats(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    folder = tmp_path_factory.mktemp("formats")
    yield {to: quantise(weights, folder / f"{to}.gguf", to) for to in ("BF16", "Q4_0")}
    shutil.rmtree(folder)


@pytest.fixture
def settings(tmp_path: Path, weights: Path) -> Settings:
    """A cache of its own that has the published weights: links, so that nothing is copied or touched."""
    folder = tmp_path / "cache" / "models" / MODEL
    folder.mkdir(parents=True)
    for path in (weights, weights.with_name(weights.name + ".verified.json")):
        os.link(path, folder / path.name)
    return load_settings(
        {"model": MODEL, "cache_dir": tmp_path / "cache", "config_dir": tmp_path, "context_tokens": 4096}
    )


@pytest.fixture
def samples(settings: Settings) -> list[Sample]:
    everything = shipped(Catalog(standard_dirs(settings)).snapshot.skills.values())
    return [sample for sample in everything if sample.skill == "classify" and sample.expected.get("label")][:30]


def candidate(path: Path, **engine: object) -> Candidate:
    return Candidate(path.stem, path, EngineChoice.model_validate(engine), 0)


def test_a_file_tells_its_format_parameters_and_kv_cache(weights: Path, formats: dict[str, Path]):
    facts = examine(weights)
    assert (facts.format, facts.parameters) == ("Q4_1", 134_515_008)
    assert facts.kv_values == 2 * 30 * 3 * 64  # keys and values, layers, KV heads, head width
    assert {to: examine(path).format for to, path in formats.items()} == {"BF16": "BF16", "Q4_0": "Q4_0"}
    for to, path in formats.items():
        assert path.stat().st_size <= facts.bytes_as(to) + (8 << 20)  # type: ignore[arg-type]


def test_a_file_that_is_no_model_is_refused_with_what_llama_cpp_says(tmp_path: Path):
    path = tmp_path / "text.gguf"
    path.write_text("no model")
    with pytest.raises(TuningFailed, match=r"cannot read .*invalid magic"):
        quantise(path, tmp_path / "out.gguf", "BF16")
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_told_before_anything_is_written(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    with pytest.raises(TuningFailed, match=r"BF16 weights of .* need 336 MB of disk, and .* has 0 MB left"):
        quantise(weights, tmp_path / "out" / "bf16.gguf", "BF16")
    assert list((tmp_path / "out").iterdir()) == []


def test_more_bits_keep_the_labels_and_fewer_are_noticed(
    store: ModelStore, settings: Settings, weights: Path, formats: dict[str, Path], samples: Sequence[Sample]
):
    with Laboratory(store.manifest(MODEL), settings) as lab:
        answers = {path: lab.answers(candidate(path), samples) for path in (weights, *formats.values())}
    taken = {
        path: [decisions(sample.expected, answer) for sample, answer in zip(samples, given, strict=True)]
        for path, given in answers.items()
    }

    def beside_published(to: str) -> Quality:
        return compare(taken[weights], taken[formats[to]])

    assert beside_published("BF16").agreement >= 0.9  # 30 labels, of which some are near ties
    assert beside_published("BF16").divergence < 0.01
    assert beside_published("Q4_0").divergence > 5 * beside_published("BF16").divergence


def test_settings_of_the_engine_are_measured_and_what_cannot_run_is_an_error(
    store: ModelStore, settings: Settings, weights: Path
):
    with Laboratory(store.manifest(MODEL), settings) as lab:
        rates = lab.measure(candidate(weights, batch_tokens=128, kv_type="q8_0"), BRIEF)
        assert rates.prefill > 0
        assert min(rates.decode.values()) > 0
        assert lab.measure(candidate(weights, flash_attention=False, kv_type="bf16"), BRIEF).prefill > 0
        with pytest.raises(ModelLoadFailed, match="could not make a context"):
            lab.measure(candidate(weights, flash_attention=False, kv_type="q8_0"), BRIEF)


def test_a_crash_of_llama_cpp_costs_one_candidate_only(store: ModelStore, settings: Settings, weights: Path):
    with Laboratory(store.manifest(MODEL), settings) as lab:
        with pytest.raises(TuningFailed, match="crashed while dying on purpose"):
            lab._in_child("dying on purpose", os.abort)
        assert lab.measure(candidate(weights), BRIEF).prefill > 0


@pytest.fixture
def tuned(settings: Settings, formats: dict[str, Path], samples: Sequence[Sample]) -> TunedRecord:
    """Tune for real, but let BF16 seem the fastest: the speed of a busy machine is no matter for a test."""
    store = ModelStore.from_settings(settings)

    class Decided(Laboratory):
        def measure(self, candidate: Candidate, workload: Workload):  # type: ignore[no-untyped-def]
            rates = super().measure(candidate, BRIEF)
            factor = 3.0 if candidate.format == "BF16" else 1.0
            return type(rates)(100 * factor, dict.fromkeys(rates.decode, 100 * factor))

    return run_tuning(
        store,
        settings,
        samples=samples,
        options=Options(("BF16",), quick=True),
        make_lab=lambda: Decided(store.manifest(MODEL), settings),
        told=lambda _done, _all, _what: None,
    )


@pytest.fixture
async def app(settings: Settings, tuned: TunedRecord) -> App:
    store = ModelStore.from_settings(settings)
    return build_app(settings, engine_factory=lambda: load_engine(settings, store))


async def test_a_call_is_answered_from_the_tuned_file_and_an_adapter_of_the_published_base_still_fits(
    settings: Settings, tuned: TunedRecord, app: App, tmp_path: Path, sha256: str
):
    assert tuned.format == "BF16"
    serving = app.models.serving(MODEL)
    assert examine(serving.path).format == "BF16"
    try:
        engine = await app.gate.get()
        assert engine.info.sha256 == sha256
        answer = (await app.runner.run(app.catalog.get("classify"), LABELS)).data
        assert answer["label"] in LABELS["labels"]
        adapter: Adapter = make_adapter(tmp_path / "a.gguf", seed=1, base_sha256=sha256)
        await engine.load_adapter(adapter)
    finally:
        await app.gate.aclose()
    assert app.models.tuned(MODEL).remove()
    assert app.models.serving(MODEL).path == app.models.path(MODEL)


@pytest.mark.parametrize("kv_type", ["f16", "bf16", "q8_0"])
async def test_the_engine_answers_under_every_kv_type(weights: Path, sha256: str, kv_type: KvType):
    engine = LlamaEngine.load(
        model_path=weights, model_id=MODEL, model_sha256=sha256, context_tokens=1024, kv_type=kv_type
    )
    try:
        prompt = await engine.encode(Chat((Message("user", (Span("Count to three."),)),)))
        assert (await engine.generate(GenerationRequest(prompt, max_tokens=4))).usage.completion > 0
    finally:
        await engine.aclose()
