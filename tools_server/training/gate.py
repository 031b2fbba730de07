"""The proof that a trained adapter computes the same in llama.cpp as it did in training.

A wrong conversion loads without a complaint, and its most probable token is often still the right one. So the file
that will be served is held against torch by its numbers: the Kullback-Leibler divergence (Kullback & Leibler 1951)
KL(torch ‖ llama.cpp) of next-token distributions, in nats. The base's weights and the file's are widened to F32 for
that, exactly, so that no rounding of arithmetic can hide a wrong conversion, or look like one.
"""

import gc
import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tools_server.engine.backend import Batch, Logits
from tools_server.engine.sequence import find_last
from tools_server.engine.types import Adapter
from tools_server.errors import ConversionFailed
from tools_server.training.base import library, load_base, wrap
from tools_server.training.export import LoraWeights, widen
from tools_server.training.lora import load_weights

if TYPE_CHECKING:
    from tools_server.engine.llama import LlamaBackend

__all__ = ["LIMIT", "Divergence", "GateReport", "attach", "prove"]

LIMIT = 1e-4
"""Nats. Right files of SmolLM2 135M are at 1e-6 at worst, one with unpermuted rows at 4e-2."""


@dataclass(frozen=True, slots=True)
class Divergence:
    """How far next-token distributions q are from p: KL(p ‖ q) in nats, over all compared positions.

    `agreement` is the share of positions where both find the same token most probable. `per_prompt` has the largest
    KL of each prompt.
    """

    kl_max: float
    kl_mean: float
    agreement: float
    per_prompt: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class GateReport:
    """What was proved, and what it is worth.

    `adapter` is the proof: the file's weights on the base's, all in F32, against torch; `base` is the same without an
    adapter. `effect` is how far the adapter moves torch from its base: a proof with one that moves nothing says
    nothing. The others are no proof, but what to expect: `rounded` is the file as it is, most often in F16, on the base
    in F32; `served` and `served_base` are with the base as it is published, whose quantised arithmetic comes in.
    """

    limit: float
    adapter: Divergence
    base: Divergence
    effect: Divergence
    rounded: Divergence
    served: Divergence
    served_base: Divergence


def _silent(what: str) -> None:
    del what


def prove(
    base_gguf: Path,
    lora: LoraWeights,
    adapter_gguf: Path,
    prompts: Sequence[Sequence[int]],
    *,
    scratch: Path,
    limit: float = LIMIT,
    positions: int = 16,
    told: Callable[[str], None] = _silent,
) -> GateReport:
    """Hold an adapter's file against the weights that it was written from, at the last `positions` of each prompt.

    There is at least one prompt; a few that look like the skill's are enough. `told` hears what begins now.

    Writes the base in F32 into a folder of its own in `scratch`, and removes it. Torch and llama.cpp hold the base one
    after the other: memory and disk need four bytes a parameter each. Blocks for seconds (135M parameters) to minutes.

    Raises:
        AdapterMismatch: a prompt lacks the invocation tokens of an activated LoRA, or the file does not fit the base.
        ConversionFailed: the divergence is above `limit`; the message tells whether base or adapter is at fault.
        BaseUnsupported, ModelLoadFailed, TrainingUnavailable: see `load_base`.
        TuningFailed: the base could not be written in F32, or disk space is short.
    """
    # Here, for it loads llama.cpp, which training does without.
    from tools_server.engine.llama_weights import quantise  # noqa: PLC0415

    for prompt in prompts:
        _start(prompt, lora)  # before minutes of work
    told("computing the reference")
    trained, bare = _in_torch(base_gguf, lora, prompts, positions)
    gc.collect()  # torch's copy of the base refers to itself; llama.cpp needs the memory now
    of = _sha256(base_gguf)
    adapter = Adapter(_sha256(adapter_gguf), of, path=adapter_gguf, name=adapter_gguf.name)
    with tempfile.TemporaryDirectory(dir=scratch, prefix="gate-") as folder:
        told("writing the base in F32")
        exact_gguf = quantise(base_gguf, Path(folder) / "base-f32.gguf", "F32")
        copy = Path(folder) / "adapter-f32.gguf"
        wide = Adapter(widen(adapter_gguf, copy), of, path=copy, name=adapter_gguf.name)
        told("computing the same in llama.cpp")
        exact = _in_llama(exact_gguf, (wide, adapter, None), lora, prompts, positions, exact=True)
    told("computing what will be served")
    served = _in_llama(base_gguf, (adapter, None), lora, prompts, positions, exact=False)
    report = GateReport(
        limit=limit,
        adapter=_divergence(trained, exact[0]),
        base=_divergence(bare, exact[2]),
        effect=_divergence(trained, bare),
        rounded=_divergence(trained, exact[1]),
        served=_divergence(trained, served[0]),
        served_base=_divergence(bare, served[1]),
    )
    _judge(report, base_gguf, adapter_gguf)
    return report


def attach(model: Any, lora: LoraWeights) -> Any:
    """Put a LoRA on a base, as a model of `peft` in evaluation mode. The base itself is changed: peft wraps its layers.

    Raises:
        TrainingUnavailable: the extra `train` is not installed.
    """
    peft = library("peft")
    config = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        target_modules=list(lora.modules),
        task_type="CAUSAL_LM",
        alora_invocation_tokens=list(lora.invocation_tokens) or None,
    )
    attached = wrap(model, config)
    load_weights(attached, lora)
    return attached.eval()


def _in_torch(
    base_gguf: Path, lora: LoraWeights, prompts: Sequence[Sequence[int]], positions: int
) -> tuple[list[Logits], list[Logits]]:
    """Logits with the adapter and without it; of shape (positions, vocabulary) for each prompt."""
    torch = library("torch")
    attached = attach(load_base(base_gguf, dtype="float32")[0], lora)

    def logits(prompt: Sequence[int]) -> Logits:
        return attached(input_ids=torch.tensor([list(prompt)]), logits_to_keep=positions).logits[0].numpy()

    with torch.inference_mode():
        trained = [logits(prompt) for prompt in prompts]
        with attached.disable_adapter():
            bare = [logits(prompt) for prompt in prompts]
    return trained, bare


def _in_llama(
    gguf: Path,
    adapters: Sequence[Adapter | None],
    lora: LoraWeights,
    prompts: Sequence[Sequence[int]],
    positions: int,
    *,
    exact: bool,
) -> list[list[Logits]]:
    """The same from llama.cpp, under each of these adapters."""
    from tools_server.engine.llama import LlamaBackend  # noqa: PLC0415 - see above

    backend = LlamaBackend(
        gguf,
        model_id=gguf.stem,
        sha256="",
        context_tokens=max(len(prompt) for prompt in prompts),
        max_sequences=1,
        batch_tokens=512,
        exact=exact,
    )
    try:
        return [_under(backend, adapter, lora, prompts, positions) for adapter in adapters]
    finally:
        backend.close()


def _under(
    backend: "LlamaBackend",
    adapter: Adapter | None,
    lora: LoraWeights,
    prompts: Sequence[Sequence[int]],
    positions: int,
) -> list[Logits]:
    if adapter is not None:
        backend.load_adapter(adapter)
        if backend.invocation(adapter) != lora.invocation_tokens:
            raise ConversionFailed(
                f"The adapter {adapter.name} acts from other tokens on, {list(backend.invocation(adapter))}, than the "
                f"one that was trained, {list(lora.invocation_tokens)}.",
                "Export it with the invocation tokens that it was trained with.",
            )
    found: list[Logits] = []
    for prompt in prompts:
        start = _start(prompt, lora)
        backend.use_adapter(None)
        before = _decode(backend, prompt, range(start), positions)
        backend.use_adapter(adapter)
        found.append(np.concatenate((before, _decode(backend, prompt, range(start, len(prompt)), positions))))
    return found


def _start(prompt: Sequence[int], lora: LoraWeights) -> int:
    """From which token of a prompt on the LoRA acts."""
    return find_last(tuple(prompt), lora.invocation_tokens) if lora.invocation_tokens else 0


def _decode(backend: "LlamaBackend", prompt: Sequence[int], span: range, positions: int) -> Logits:
    """Decode these tokens of a prompt on top of those before; logits of those among its last `positions`."""
    backend.clear_sequence(0, span.start)
    found: list[Logits] = [np.zeros((0, backend.info.vocabulary), dtype=np.float32)]
    for begin in range(span.start, span.stop, backend.n_batch):
        batch = Batch()
        for position in range(begin, min(begin + backend.n_batch, span.stop)):
            batch.add(prompt[position], position, (0,), output=position >= len(prompt) - positions)
        found.append(backend.decode(batch).copy())
    return np.concatenate(found)


def _divergence(references: Sequence[Logits], others: Sequence[Logits]) -> Divergence:
    kls: list[NDArray[np.float64]] = []
    same: list[NDArray[np.bool_]] = []
    for reference, other in zip(references, others, strict=True):
        p, q = _log_softmax(reference), _log_softmax(other)
        kls.append((np.exp(p) * (p - q)).sum(axis=-1))
        same.append(p.argmax(axis=-1) == q.argmax(axis=-1))
    every = np.concatenate(kls)
    return Divergence(
        kl_max=float(every.max()),
        kl_mean=float(every.mean()),
        agreement=float(np.concatenate(same).mean()),
        per_prompt=tuple(float(kl.max()) for kl in kls),
    )


def _log_softmax(logits: Logits) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _judge(report: GateReport, base_gguf: Path, adapter_gguf: Path) -> None:
    for what, found, hint in (
        (f"the base {base_gguf.name}", report.base, "Training saw another model than serving: do not use the adapter."),
        (f"the adapter {adapter_gguf.name}", report.adapter, "Do not use the file; export the adapter anew."),
    ):
        if not found.kl_max <= report.limit:  # so put, NaN fails too
            raise ConversionFailed(
                f"llama.cpp computes something else with {what} than training did: KL {found.kl_max:.3g} nats at "
                f"worst, {found.kl_mean:.3g} on average, where {report.limit:g} is allowed.",
                hint,
            )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
