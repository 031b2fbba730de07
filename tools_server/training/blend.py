"""A LoRA between two of one base: what both add to each layer, averaged, at the rank that both have.

Weights averaged from before and after a narrow task was learnt keep most of what either is good at (WiSE-FT: Wortsman
et al. 2021, arXiv:2109.01903). It takes no training, and serves as fast as one of the two.
"""

import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools_server.errors import TrainingFailed
from tools_server.models import ModelStore
from tools_server.settings import Settings
from tools_server.skills.adapters import AdapterVersion, Origin
from tools_server.skills.types import Skill
from tools_server.training.base import base_facts
from tools_server.training.export import LoraWeights, export_lora
from tools_server.training.start import Earlier, read_earlier
from tools_server.training.versions import add_version

__all__ = ["blend", "blend_versions"]

TOOLS = ("gguf", "tools-server")


def blend_versions(
    skill: Skill, settings: Settings, first: str, second: str, weight: float, *, version: str | None = None
) -> AdapterVersion:
    """Keep as a new version what lies between two: `weight` of the second, the rest of the first.

    Both are versions of `settings.model`, or `shipped`. The new version lists the data of both. Blocks for seconds.

    Raises:
        TrainingFailed: there is no such adapter, it belongs to another base, or the two differ in shape or in the
            prompt that they were trained for.
        SkillError: a version is damaged, or there is one of the new one's name already.
        ModelError: the weights of the base are missing: their shape is read from them.
        TrainingUnavailable: the extra `train` is not installed.
    """
    store = ModelStore.from_settings(settings)
    base_sha256, base = store.manifest(settings.model).sha256, base_facts(store.path(settings.model))
    one, other = (read_earlier(skill, settings, name, base, base_sha256=base_sha256) for name in (first, second))
    _check_alike(one, other)
    mixed, kept = blend(one.weights, other.weights, weight)
    uses = one.uses or ()
    origin = Origin(
        source="blended here",
        base_model=settings.model,
        base_sha256=base_sha256,
        created=datetime.now(UTC),
        prompt_digest=one.prompt_digest,
        data=(*uses, *(use for use in other.uses or () if use not in uses)),
        recipe={"blend": {one.sha256: round(1 - weight, 6), other.sha256: weight}, "kept": round(kept, 6)},
        tools={name: version_of(name) for name in TOOLS},
    )
    with tempfile.TemporaryDirectory(prefix="tools-server-blend-") as folder:
        file = Path(folder) / "adapter.gguf"
        export_lora(mixed, base, file, metadata={"name": f"{skill.name} for {settings.model}"})
        return add_version(settings.adapters_dir, skill.name, settings.model, file, origin, version=version)


def blend(first: LoraWeights, second: LoraWeights, weight: float) -> tuple[LoraWeights, float]:
    """Average what two LoRAs of one shape add to each layer: `weight` of the second, the rest of the first.

    The average of two products of rank r has up to rank 2r; the nearest one of rank r is taken (Eckart and Young 1936).
    Also gives how much of the average that keeps at the layer where it keeps least, as a share of its squared Frobenius
    norm, from 0 to 1.
    """
    shares = ((1 - weight) * first.alpha / first.rank, weight * second.alpha / second.rank)
    modules: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {}
    kept = 1.0
    for path, pair in first.modules.items():
        inner = np.concatenate([pair[0], second.modules[path][0]]).astype(np.float64)
        outer = np.concatenate(
            [
                share * each[1].astype(np.float64)
                for share, each in zip(shares, (pair, second.modules[path]), strict=True)
            ],
            axis=1,
        )
        modules[path], part = _nearest(outer * first.rank / first.alpha, inner, first.rank)
        kept = min(kept, part)
    return replace(first, modules=modules), kept


def _nearest(
    outer: NDArray[np.float64], inner: NDArray[np.float64], rank: int
) -> tuple[tuple[NDArray[Any], NDArray[Any]], float]:
    """Give (A, B) of the rank whose product is nearest to `outer @ inner`, and the share of it that they keep.

    The product has as many values as the layer has weights, so it is never formed: its singular values are those of a
    matrix as small as its rank, between two orthonormal ones.
    """
    left, left_small = np.linalg.qr(outer)
    right, right_small = np.linalg.qr(inner.T)
    u, sizes, v = np.linalg.svd(left_small @ right_small.T)
    roots = np.sqrt(sizes[:rank])
    total = float((sizes**2).sum())
    pair = (roots[:, None] * v[:rank] @ right.T).astype(np.float32), (left @ u[:, :rank] * roots).astype(np.float32)
    return pair, float((sizes[:rank] ** 2).sum()) / total if total else 1.0


def _check_alike(one: Earlier, other: Earlier) -> None:
    hint = "Blend two of one shape, as an adapter and one that was trained on from it: `train --from`."
    a, b = one.weights, other.weights
    for what, mine, theirs in (
        ("rank", a.rank, b.rank),
        ("number of layers", len(a.modules), len(b.modules)),
        ("invocation", a.invocation_tokens or "none", b.invocation_tokens or "none"),
    ):
        if mine != theirs:
            raise TrainingFailed(f"{one.name} and {other.name} differ in their {what}: {mine} and {theirs}.", hint)
    if apart := sorted(set(a.modules) ^ set(b.modules)):
        raise TrainingFailed(f"Of {one.name} and {other.name} only one changes {apart[0]}.", hint)
    if one.prompt_digest is not None and other.prompt_digest not in (None, one.prompt_digest):
        raise TrainingFailed(
            f"{one.name} and {other.name} were trained for different prompts of the skill.", "Train one of them again."
        )
