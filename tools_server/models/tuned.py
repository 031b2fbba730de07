"""What `models tune` found for one model on one machine: `tuned.json`, beside the weights it speaks of."""

import json
import logging
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tools_server.models.files import Seal, read_seal, remove, remove_sealed, sha256_of, write_aside, write_seal
from tools_server.models.machine import Machine
from tools_server.models.report import silent
from tools_server.settings import KvType, Settings

__all__ = ["EngineChoice", "Gain", "TunedFile", "TunedRecord", "TunedWeights"]

FILE_NAME = "tuned.json"
RECORD_VERSION = 1

_log = logging.getLogger(__name__)


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EngineChoice(_Strict):
    """Settings of the engine that were found fastest; they hold where the user has not set them."""

    batch_tokens: int = 512
    flash_attention: bool | None = None
    kv_type: KvType = "f16"

    def applied_to(self, settings: Settings) -> Settings:
        """The settings with this choice wherever the user has not decided otherwise."""
        free = {key: value for key, value in dict(self).items() if key not in settings.model_fields_set}
        return settings.model_copy(update=free)


class TunedFile(_Strict):
    """Weights in another format, beside the record."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.gguf$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size_bytes: Annotated[int, Field(gt=0)]


class Gain(_Strict):
    """How many times faster than the published weights at default settings, measured in the same run."""

    prefill: float
    decode: float
    call: float


class TunedRecord(_Strict):
    """One `tuned.json`. Without `file` the published weights were fastest. `report` has every measurement."""

    version: Annotated[int, Field(ge=RECORD_VERSION, le=RECORD_VERSION)] = RECORD_VERSION
    model: str
    source_sha256: str
    machine: Machine
    format: str
    file: TunedFile | None
    engine: EngineChoice
    gain: Gain
    why: str
    report: dict[str, Any]

    @property
    def summary(self) -> str:
        """The choice in one line, such as `BF16, 3.2 × prefill`."""
        format_ = self.format if self.file else f"{self.format} as published"
        return f"{format_}, {self.gain.prefill:.1f} × prefill, {self.gain.decode:.1f} × decode"


class TunedWeights:
    """The tuned record and file of one model, in the folder of its published weights."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def record_path(self) -> Path:
        """Where the record lies, or would lie."""
        return self._folder / FILE_NAME

    def file_path(self, file: TunedFile) -> Path:
        """Where the tuned file of a record lies."""
        return self._folder / file.name

    def read(self) -> TunedRecord | None:
        """The record, or None when there is none or it cannot be read (which is logged)."""
        try:
            return TunedRecord.model_validate_json(self.record_path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            _log.warning("ignoring the unreadable %s: %s", self.record_path, str(error).splitlines()[0])
            return None

    def write(self, record: TunedRecord) -> None:
        """Keep a record whose file, if it names one, lies beside it already; the files of earlier ones go."""
        before = self.read()
        if record.file is not None:
            write_seal(self.file_path(record.file), record.file.sha256)
        write_aside(self.record_path, json.dumps(record.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n")
        kept = record.file.name if record.file else None
        if before is not None and before.file is not None and before.file.name != kept:
            remove_sealed(self.file_path(before.file))

    def remove(self) -> bool:
        """Go back to the published weights; tells whether there was anything to remove."""
        record, existed = self.read(), self.record_path.exists()
        remove(self.record_path)
        if record is not None and record.file is not None:
            remove_sealed(self.file_path(record.file))
        return existed

    def objection(self, record: TunedRecord, *, source_sha256: str, machine: Machine) -> str | None:
        """Why a record does not hold here, None when it may. Reads no weights; `intact` is the rest."""
        if record.source_sha256 != source_sha256:
            return "they were made from other weights than the manifest pins"
        if differences := machine.differences(record.machine):
            return f"they were measured elsewhere ({'; '.join(differences)})"
        if record.file is not None:
            path = self.file_path(record.file)
            if not path.is_file() or path.stat().st_size != record.file.size_bytes:
                return f"{path} is gone or not whole"
        return None

    def intact(self, file: TunedFile) -> bool:
        """Whether the file is the one that was measured; hashed once when it changed since it was sealed."""
        path = self.file_path(file)
        if read_seal(path) == Seal.of(path, file.sha256):
            return True
        if sha256_of(path, silent, f"checking {path.name}") != file.sha256:
            return False
        write_seal(path, file.sha256)
        return True
