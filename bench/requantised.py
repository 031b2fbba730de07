"""The weights of a model in another format, under an id of their own, for both sides alike."""

from bench.terms import HOME
from tools_server.cli import output
from tools_server.engine import llama_weights
from tools_server.models import ModelStore
from tools_server.settings import Settings

FORMATS = {name.lower(): name for name in llama_weights.FORMATS}
"""What can be asked for, and what the quantiser calls it."""


def requantised(settings: Settings, weights_format: str) -> Settings:
    """Settings that serve the model in another format. Written once, into a folder of the benchmarks' own.

    Raises:
        ModelError: the model is not on this machine.
        TuningFailed: llama.cpp could not write the format, or disk space is short.
    """
    source = ModelStore.from_settings(settings).path(settings.model)
    model_id = f"{settings.model}-{weights_format}"
    changed = settings.model_copy(
        update={"model": model_id, "config_dir": HOME / "config", "cache_dir": HOME / "cache"}
    )
    store = ModelStore.from_settings(changed)
    if not store.manifest_path(model_id).is_file():
        target = HOME / f"{model_id}.gguf"
        output.note(f"writing {settings.model} as {weights_format.upper()} (once)")
        HOME.mkdir(parents=True, exist_ok=True)
        try:
            llama_weights.quantise(source, target, FORMATS[weights_format])
            store.add(str(target), model_id=model_id)
        finally:
            target.unlink(missing_ok=True)
    return changed
