"""An earlier adapter to go on from: its weights, its shape, and all that it was trained on."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tools_server.errors import AdapterMismatch, ManifestInvalid, TrainingFailed
from tools_server.models.adapter_header import read_adapter_header
from tools_server.models.files import sha256_of
from tools_server.models.report import silent
from tools_server.settings import Settings
from tools_server.skills.adapters import PROVENANCE_FILE, AdapterProvenance, DataUse, adapter_of
from tools_server.skills.types import Skill
from tools_server.toml_file import read_toml
from tools_server.training.base import LINEARS, BaseFacts, library, rotary_rows
from tools_server.training.export import LoraWeights
from tools_server.training.sources import TrainingData
from tools_server.training.types import Hyperparameters

__all__ = ["Earlier", "Start", "read_earlier", "read_lora", "read_start"]


@dataclass(frozen=True, slots=True)
class Earlier:
    """An adapter that there is already. `uses` is what it was trained on: None if nothing is known of that."""

    name: str
    sha256: str
    weights: LoraWeights
    uses: tuple[DataUse, ...] | None
    prompt_digest: str | None


@dataclass(frozen=True, slots=True)
class Start(Earlier):
    """The adapter that a run goes on from: it changes the upper `layers` blocks of its base."""

    layers: int

    def shape(self, hyper: Hyperparameters) -> Hyperparameters:
        """Give hyper-parameters whose adapter has the shape of this one."""
        kind = "alora" if self.weights.invocation_tokens else "lora"
        return replace(hyper, kind=kind, rank=self.weights.rank, alpha=self.weights.alpha, layers=self.layers)

    def all_uses(self, more: tuple[DataUse, ...]) -> tuple[DataUse, ...]:
        """Give what an adapter was trained on that went on from this one with more data: a promotion asks for it."""
        before = self.uses or ()
        return (*before, *(use for use in more if use not in before))


def read_start(
    skill: Skill, data: TrainingData, settings: Settings, version: str, base: BaseFacts, *, base_sha256: str
) -> Start:
    """Read the adapter that `version` stands for: `shipped`, or the name of a version.

    Raises:
        TrainingFailed: there is no such adapter, it belongs to another base, it has learnt what would be held back to
            choose by, or training could not give it its shape.
        SkillError: the version is not there, or damaged.
    """
    found = read_earlier(skill, settings, version, base, base_sha256=base_sha256)
    learnt = {(use.dataset, use.split) for use in found.uses or ()}
    held_back = data.uses if data.held_back else ()
    if again := next((use for use in held_back if (use.dataset, use.split) in learnt), None):
        raise TrainingFailed(
            f"{found.name} has learnt samples of {again.dataset} ({again.split}) already, of which a tenth would be "
            "held back to choose by.",
            "Name other samples to choose by: --dev.",
        )
    layers = _upper_blocks(found.weights, base, found.name)
    return Start(found.name, found.sha256, found.weights, found.uses, found.prompt_digest, layers)


def read_earlier(skill: Skill, settings: Settings, version: str, base: BaseFacts, *, base_sha256: str) -> Earlier:
    """Read the adapter of `settings.model` that `version` stands for; a scale is worked into its alpha.

    Raises:
        TrainingFailed: there is no such adapter, or it belongs to another base.
        SkillError: the version is not there, or damaged.
    """
    model = settings.model
    adapter = adapter_of(skill, settings.adapters_dir, model, version)
    if adapter is None:
        raise TrainingFailed(
            f"`{skill.name}` has no adapter {version!r} for {model} to go on from.",
            f"Name a version that there is: `tools-server skills adapters list {skill.name}`.",
        )
    if adapter.base_sha256 != base_sha256:
        raise TrainingFailed(
            f"{adapter.name} was made for a base with SHA-256 {adapter.base_sha256[:12]}…; {model} has "
            f"{base_sha256[:12]}….",
            "Train anew, without --from.",
        )
    if (found := sha256_of(adapter.path, silent, "")) != adapter.sha256:
        raise AdapterMismatch(
            f"Adapter {adapter.name} has SHA-256 {found[:12]}…, {adapter.sha256[:12]}… is expected.",
            f"Restore {adapter.path}.",
        )
    weights = read_lora(adapter.path, base)
    if adapter.scale != 1.0:
        weights = replace(weights, alpha=weights.alpha * adapter.scale)
    origin = _origin(adapter.path)
    uses, digest = (None, None) if origin is None else (origin.data, origin.prompt_digest)
    return Earlier(adapter.name, adapter.sha256, weights, uses, digest)


def read_lora(path: Path, base: BaseFacts) -> LoraWeights:
    """Read an adapter's file as `export.export_lora` writes it, in F32 and with torch's order of rows.

    Raises:
        AdapterMismatch: it is damaged, or made for an architecture or shape that is not the base's.
    """
    header = read_adapter_header(path)
    if header.architecture != base.architecture:
        raise _other(path, f"is for {header.architecture}, the base is {base.architecture}")
    gguf = library("gguf")
    reader = gguf.GGUFReader(path)
    halves: dict[str, Any] = {
        tensor.name: gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32) for tensor in reader.tensors
    }
    modules: dict[str, tuple[Any, Any]] = {}
    for stem in (name.removesuffix(".lora_a") for name in halves if name.endswith(".lora_a")):
        block, number, part = (*stem.removesuffix(".weight").split("."), "", "")[:3]
        if block != "blk" or not number.isdecimal() or int(number) >= base.layers or part not in LINEARS:
            raise _other(path, f"changes {stem}, which is no linear layer of the base")
        first, second = (halves[f"{stem}.{half}"] for half in ("lora_a", "lora_b"))
        inputs, outputs = base.linear(part)
        if first.shape != (header.rank, inputs) or second.shape != (outputs, header.rank):
            raise _other(path, f"has for {stem} matrices of shape {first.shape} and {second.shape}")
        if base.architecture == "llama" and part in ("attn_q", "attn_k"):
            there = rotary_rows(base.heads if part == "attn_q" else base.kv_heads, outputs)
            second = second[np.argsort(there)]
        modules[f"model.layers.{number}.{LINEARS[part]}"] = first, second
    field = reader.fields.get("adapter.alora.invocation_tokens")
    invocation = () if field is None else tuple(int(token) for token in field.contents())
    return LoraWeights(modules, header.rank, header.alpha, invocation)


def _upper_blocks(weights: LoraWeights, base: BaseFacts, name: str) -> int:
    """How many blocks from the output down it changes: all seven linear layers of each, or it is no shape to train."""
    lowest = min(int(path.split(".")[2]) for path in weights.modules)
    wanted = {f"model.layers.{at}.{linear}" for at in range(lowest, base.layers) for linear in LINEARS.values()}
    if set(weights.modules) != wanted:
        raise TrainingFailed(
            f"{name} does not change all linear layers of the blocks from {lowest} up.", "Train anew: leave out --from."
        )
    return base.layers - lowest


def _origin(weights: Path) -> AdapterProvenance | None:
    """What is recorded of where it comes from: beside the weights under their name, or as versions have it."""
    for path in (weights.with_suffix(".toml"), weights.with_name(PROVENANCE_FILE)):
        if path.is_file():
            return read_toml(path, AdapterProvenance, _wrong)
    return None


def _wrong(message: str) -> ManifestInvalid:
    return ManifestInvalid(message, "Restore the file.")


def _other(path: Path, what: str) -> AdapterMismatch:
    return AdapterMismatch(f"{path} {what}.", "Go on from an adapter of this model, or train anew.")
