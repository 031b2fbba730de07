"""Which adapters an evaluation is about, by the words that people name them with."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools_server.engine.types import Adapter
from tools_server.errors import AdapterMismatch, EvaluationImpossible
from tools_server.evals.runner import Variant
from tools_server.skills.adapters import BARE, adapter_of
from tools_server.skills.types import Skill

__all__ = ["BARE_NAME", "SERVED", "Adapters", "Choice", "choose"]

SERVED = "served"
"""Stands for the adapter that a call gets now, whether promoted or out of the skill's folder."""

BARE_NAME = "bare"
"""What the base without an adapter is called in tables."""

_SUFFIX = ".gguf"


@dataclass(frozen=True, slots=True)
class Adapters:
    """The adapters of a skill for one model. `folder` is the skill as its folder gives it, `served` as it is served.

    `base_sha256` is the SHA-256 of the weights that adapter files from elsewhere were trained on.
    """

    folder: Skill
    served: Skill
    root: Path
    model: str
    base_sha256: str

    def find(self, word: str) -> Adapter | None:
        """Give the adapter that a word stands for: `served`, `none`, `shipped`, a version, or a GGUF file.

        Raises:
            AdapterVersionNotFound: there is no such version.
            AdapterMismatch: the file is missing, or no GGUF file.
        """
        if word == SERVED:
            return self.served.adapters.get(self.model)
        if word.endswith(_SUFFIX):
            return self._file(Path(word).expanduser())
        return adapter_of(self.folder, self.root, self.model, word)

    def _file(self, path: Path) -> Adapter:
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise AdapterMismatch(
                f"The adapter {path} cannot be read: {error.strerror}.", "Check the path; a version has a name instead."
            ) from error
        return Adapter(digest, self.base_sha256, path=path.absolute(), name=path.name)


@dataclass(frozen=True, slots=True)
class Choice:
    """What is evaluated: `variants` by name, which of them is the candidate, and what it is compared with."""

    variants: Sequence[Variant]
    candidate: str
    baseline: str | None


def choose(
    adapters: Adapters, *, adapter: str, compare: str | None, bare: bool, base_sha256: str, weights: str
) -> Choice:
    """Find the adapters, and name each variant once; `bare` adds the base without one.

    `base_sha256` and `weights` are those of the model that is loaded.

    Raises:
        EvaluationImpossible: what is to be compared is the same.
        AdapterVersionNotFound, AdapterMismatch: see `Adapters.find`.
    """
    variants: dict[str, Variant] = {}
    names: list[str] = []
    for word in (adapter, *([compare] if compare else ()), *([BARE] if bare else ())):
        found = adapters.find(word)
        name = BARE_NAME if found is None else Path(word).name
        names.append(name)
        variants.setdefault(name, Variant(name, adapters.served, adapters.model, base_sha256, weights, found))
    if compare is not None and variants[names[0]].adapter == variants[names[1]].adapter:
        raise EvaluationImpossible(
            f"{adapter!r} and {compare!r} stand for the same adapter of `{adapters.served.name}` on {adapters.model}.",
            f"Compare with another version, or with `{BARE}`.",
        )
    return Choice(list(variants.values()), names[0], names[1] if compare is not None else None)
