"""Every error that tools-server raises on purpose; `surfaces.py` says how each surface shows it.

A message says what failed and the offending value; the hint says the next move. A call that its caller cancelled
ends with no answer and so has no error. The tree:

    ToolsServerError
    ├ CallError
    │ ├ InvalidArguments    the arguments break the skill's input schema, or a schema among them is unusable
    │ ├ InputTooLong        the input does not fit and the skill does not split it
    │ ├ InputNotAllowed     a path lies outside the allowed roots
    │ ├ InputUnreadable     a file is missing, binary, or not UTF-8
    │ └ OutputTruncated     the answer hit its token budget before it was complete
    ├ CapacityError
    │ ├ QueueFull           the engine's queue is full; carries `retry_after` in seconds
    │ └ DeadlineExceeded    the call's deadline passed before it finished
    ├ SkillError
    │ ├ SkillNotFound       no skill has that name
    │ ├ ManifestInvalid     a skill folder or model manifest breaks its contract
    │ ├ AdapterMismatch     an adapter was trained for another base, or its file is not what it says
    │ ├ AdapterVersionNotFound  a skill has no adapter version of that name for that model
    │ ├ AdapterVersionConflict  a version's name is taken, or it is served and cannot be removed
    │ ├ PromotionRefused    no held-out win speaks for an adapter version, or there is nothing to go back to
    │ └ SamplesInvalid      a file of evaluation samples breaks its contract
    ├ DataError
    │ ├ DataNotFound        no recipe has that name, or its file is not on this machine
    │ ├ DataInvalid         a recipe or a file of its data breaks its contract, or splits share a text
    │ └ DataUnreachable     the address of a data set did not deliver the file
    ├ EvaluationError
    │ ├ EvaluationUnavailable  a package that scores or baselines need is not installed
    │ └ EvaluationImpossible   nothing says how a skill's answers are scored, or what was asked does not fit together
    ├ ModelError
    │ ├ ModelNotFound       no manifest has that id, or its weights are not on this machine
    │ ├ DownloadFailed      no source delivered the file
    │ ├ ChecksumMismatch    a file's SHA-256 is not the pinned one
    │ ├ ModelLoadFailed     llama.cpp could not load the weights or make a context
    │ └ TuningFailed        weights could not be written in another format, or could not be measured
    ├ TrainingError
    │ ├ TrainingUnavailable a package that training needs is not installed
    │ ├ BaseUnsupported     a base that adapters cannot be trained for here
    │ ├ TrainingFailed      samples, memory or a checkpoint do not allow the run
    │ ├ TrainingDiverged    the loss is no number any more
    │ ├ TrainingInterrupted it was asked to stop; the checkpoint is kept
    │ └ ConversionFailed    a trained adapter cannot be written as GGUF, or computes something else there
    ├ EngineError
    │ ├ DecodeFailed        llama.cpp refused a batch, or the constraint broke; this request failed, the engine lives
    │ ├ EngineDied          the engine's thread is gone, or its host crashed twice while it answered
    │ ├ HostUnavailable     no engine host can be started or reached, or its folder is open to others
    │ └ HostMismatch        the shared engine host is of a later release than this process
    └ SettingsError         an unknown or invalid setting, wherever it came from
"""

from typing import ClassVar

__all__ = [
    "AdapterMismatch",
    "AdapterVersionConflict",
    "AdapterVersionNotFound",
    "BaseUnsupported",
    "CallError",
    "CapacityError",
    "ChecksumMismatch",
    "ConversionFailed",
    "DataError",
    "DataInvalid",
    "DataNotFound",
    "DataUnreachable",
    "DeadlineExceeded",
    "DecodeFailed",
    "DownloadFailed",
    "EngineDied",
    "EngineError",
    "EvaluationError",
    "EvaluationImpossible",
    "EvaluationUnavailable",
    "HostMismatch",
    "HostUnavailable",
    "InputNotAllowed",
    "InputTooLong",
    "InputUnreadable",
    "InvalidArguments",
    "ManifestInvalid",
    "ModelError",
    "ModelLoadFailed",
    "ModelNotFound",
    "OutputTruncated",
    "PromotionRefused",
    "QueueFull",
    "SamplesInvalid",
    "SettingsError",
    "SkillError",
    "SkillNotFound",
    "ToolsServerError",
    "TrainingDiverged",
    "TrainingError",
    "TrainingFailed",
    "TrainingInterrupted",
    "TrainingUnavailable",
    "TuningFailed",
]


class ToolsServerError(Exception):
    """The root: `message` says what failed and the offending value, `hint` the next move (may be empty)."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class CallError(ToolsServerError):
    """Something about this one call that a smarter caller could have avoided."""

    code = "call_error"


class InvalidArguments(CallError):
    """The arguments break the skill's input schema, or a schema among them cannot be honoured."""

    code = "invalid_arguments"


class InputTooLong(CallError):
    """The input does not fit into the skill's limit or the model's context."""

    code = "input_too_long"


class InputNotAllowed(CallError):
    """A path lies outside the allowed roots."""

    code = "input_not_allowed"


class InputUnreadable(CallError):
    """A file is missing, binary, or not UTF-8."""

    code = "input_unreadable"


class OutputTruncated(CallError):
    """The answer hit its token budget before it was complete."""

    code = "output_truncated"


class CapacityError(ToolsServerError):
    """The call was fine; there was no room or time for it."""

    code = "capacity_error"


class QueueFull(CapacityError):
    """The engine's queue is full; try again in `retry_after` seconds."""

    code = "queue_full"

    def __init__(self, message: str, hint: str = "", *, retry_after: float) -> None:
        super().__init__(message, hint)
        self.retry_after = retry_after


class DeadlineExceeded(CapacityError):
    """The call's deadline passed before it finished."""

    code = "deadline_exceeded"


class SkillError(ToolsServerError):
    """A skill folder, or the name of one, is at fault."""

    code = "skill_error"


class SkillNotFound(SkillError):
    """No skill has that name."""

    code = "skill_not_found"


class ManifestInvalid(SkillError):
    """A skill folder or a model manifest breaks its contract; the message names file, key and reason."""

    code = "manifest_invalid"


class AdapterMismatch(SkillError):
    """An adapter was trained for another base, or its file is not what its manifest says."""

    code = "adapter_mismatch"


class AdapterVersionNotFound(SkillError):
    """A skill has no adapter version of that name for that model; the hint names those that it has."""

    code = "adapter_version_not_found"


class AdapterVersionConflict(SkillError):
    """An adapter version cannot be written or removed: its name is taken, or it is the one that is served."""

    code = "adapter_version_conflict"


class PromotionRefused(SkillError):
    """The evidence does not show a held-out win of this very adapter version, or there is nothing to roll back to."""

    code = "promotion_refused"


class SamplesInvalid(SkillError):
    """A file of evaluation samples breaks its contract; the message names file, line and reason."""

    code = "samples_invalid"


class DataError(ToolsServerError):
    """Data for evaluation or training is at fault."""

    code = "data_error"


class DataNotFound(DataError):
    """No recipe has that name, or a file of its data is not on this machine."""

    code = "data_not_found"


class DataInvalid(DataError):
    """A recipe or a file of its data breaks its contract, or two splits share a text; the message names the place."""

    code = "data_invalid"


class DataUnreachable(DataError):
    """The address of a data set did not deliver the pinned file."""

    code = "data_unreachable"


class EvaluationError(ToolsServerError):
    """A skill could not be evaluated."""

    code = "evaluation_error"


class EvaluationUnavailable(EvaluationError):
    """A package that scores or baselines need is not installed."""

    code = "evaluation_unavailable"


class EvaluationImpossible(EvaluationError):
    """Nothing says how a skill's answers are scored, or variants, samples and a folder do not fit together."""

    code = "evaluation_impossible"


class ModelError(ToolsServerError):
    """The model's weights are missing, wrong, or unusable."""

    code = "model_error"


class ModelNotFound(ModelError):
    """No manifest has that id, or its weights are not on this machine."""

    code = "model_not_found"


class DownloadFailed(ModelError):
    """No source delivered the file."""

    code = "download_failed"


class ChecksumMismatch(ModelError):
    """A file's SHA-256 is not the pinned one."""

    code = "checksum_mismatch"


class ModelLoadFailed(ModelError):
    """llama.cpp could not load the weights or make a context."""

    code = "model_load_failed"


class TuningFailed(ModelError):
    """Weights could not be written in another format, or a candidate could not be measured."""

    code = "tuning_failed"


class TrainingError(ToolsServerError):
    """An adapter could not be trained, or what was trained cannot be used."""

    code = "training_error"


class TrainingUnavailable(TrainingError):
    """A package that training needs is not installed."""

    code = "training_unavailable"


class BaseUnsupported(TrainingError):
    """A base that adapters cannot be trained for here: its architecture, or a part of it, is not known."""

    code = "base_unsupported"


class TrainingFailed(TrainingError):
    """Samples, memory or a checkpoint do not allow the run."""

    code = "training_failed"


class TrainingDiverged(TrainingError):
    """The loss is no number any more."""

    code = "training_diverged"


class TrainingInterrupted(TrainingError):
    """A run was asked to stop; its checkpoint is kept."""

    code = "training_interrupted"


class ConversionFailed(TrainingError):
    """A trained adapter cannot be written as GGUF, or llama.cpp computes something else with it than training did."""

    code = "conversion_failed"


class EngineError(ToolsServerError):
    """The machinery failed; the call itself was fine."""

    code = "engine_error"


class DecodeFailed(EngineError):
    """llama.cpp refused a batch, or the constraint broke; this request failed and the engine lives on."""

    code = "decode_failed"


class EngineDied(EngineError):
    """The engine's thread is gone or was closed, or the engine host crashed twice while it answered."""

    code = "engine_died"


class HostUnavailable(EngineError):
    """No engine host can be started or reached, or the folder of its socket is not the user's alone."""

    code = "host_unavailable"


class HostMismatch(EngineError):
    """The shared engine host is of a later release, which this process cannot talk to."""

    code = "host_mismatch"


class SettingsError(ToolsServerError):
    """An unknown or invalid setting, wherever it came from."""

    code = "settings_error"
