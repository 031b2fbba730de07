"""Turn `hf:REPO/FILE` or a path into a manifest: any other GGUF, pinned by the hash it has when it is first seen."""

import re
from dataclasses import dataclass
from pathlib import Path

from tools_server.errors import DownloadFailed, ModelLoadFailed, ModelNotFound
from tools_server.models.files import sha256_of
from tools_server.models.header import GgufHeader, read_header
from tools_server.models.manifest import FileSource, HuggingFaceSource, ModelManifest, Weights
from tools_server.models.report import Report
from tools_server.models.sources import SourceFailed
from tools_server.models.sources.huggingface import describe

__all__ = ["Candidate", "examine", "finish"]

_HUB = re.compile(r"^hf:(?P<repo>[\w.-]+/[\w.-]+)/(?P<file>[^@]+?)(?:@(?P<revision>\S+))?$")
_UNKNOWN_LICENCE = "unknown"
_UNKNOWN_OPENNESS = "weights published; whether code and training data are open is not stated here"


@dataclass(frozen=True, slots=True)
class Candidate:
    """Pinned bytes that are not a manifest yet, and the licence that their source names, if any."""

    weights: Weights
    licence: str


def examine(source: str, model_id: str | None, report: Report) -> Candidate:
    """Pin what `hf:OWNER/NAME/FILE[@REVISION]` or a path stands for. Only `hf:` uses the network; nothing is written.

    Raises:
        ModelNotFound: there is no such file on this machine.
        ModelLoadFailed: the name or the content is not that of a GGUF file.
        DownloadFailed: the Hub could not be asked, or does not have the file.
    """
    if not source.startswith("hf:"):
        return _local(Path(source).expanduser().absolute(), model_id, report)
    match = _HUB.match(source)
    if match is None:
        raise ModelNotFound(f"{source!r} names no file on Hugging Face.", "Write hf:OWNER/NAME/FILE.gguf[@REVISION].")
    repo, file = match["repo"], match["file"]
    name = _gguf_name(file)
    try:
        commit, size, sha256, licence = describe(repo, file, match["revision"])
    except SourceFailed as failure:
        raise DownloadFailed(
            f"Cannot ask Hugging Face about {source!r}: {failure}.",
            "Mend what it names; or download the file elsewhere and run `tools-server models add PATH`.",
        ) from failure
    pinned = HuggingFaceSource(kind="huggingface", repo=repo, file=file, revision=commit)
    weights = Weights(id=model_id or _id_of(name), file=name, sha256=sha256, size_bytes=size, source=(pinned,))
    return Candidate(weights, licence)


def finish(candidate: Candidate, path: Path) -> ModelManifest:
    """Make the manifest, with what the file's own header says.

    Raises:
        ModelLoadFailed: the content is not a whole GGUF language model.
    """
    header = _whole(path)
    return ModelManifest(
        **dict(candidate.weights),
        licence=candidate.licence or header.licence or _UNKNOWN_LICENCE,
        openness=_UNKNOWN_OPENNESS,
        context_tokens=header.context_tokens,
    )


def _local(path: Path, model_id: str | None, report: Report) -> Candidate:
    if not path.is_file():
        raise ModelNotFound(f"There is no file {path}.", "Give the path of a GGUF file, or hf:OWNER/NAME/FILE.gguf.")
    name = _gguf_name(path.name)
    _whole(path)  # before hashing gigabytes
    weights = Weights(
        id=model_id or _id_of(name),
        file=name,
        sha256=sha256_of(path, report, f"hashing {path.name}"),
        size_bytes=path.stat().st_size,
        source=(FileSource(kind="file", path=path),),
    )
    return Candidate(weights, "")


def _whole(path: Path) -> GgufHeader:
    header = read_header(path)
    if header.parts > 1:
        raise ModelLoadFailed(
            f"{path} is one of {header.parts} parts of a split model.",
            "Join them with `llama-gguf-split --merge FIRST_PART OUT.gguf` and add the result.",
        )
    return header


def _gguf_name(file: str) -> str:
    """The name under which the file is kept: its own, less what a manifest does not allow in one."""
    name = file.rsplit("/", 1)[-1]
    if not name.lower().endswith(".gguf"):
        raise ModelLoadFailed(f"{name!r} is not a GGUF file.", "Give a model file whose name ends in .gguf.")
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", name[: -len(".gguf")]).strip("._-") or "model"
    return f"{stem[:120]}.gguf"


def _id_of(name: str) -> str:
    return name.removesuffix(".gguf").lower()[:64]
