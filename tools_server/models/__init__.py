"""Models: what they are, where their bytes come from, and whether the bytes on this machine are the pinned ones.

Knows nothing of engines, skills or MCP.
"""

from tools_server.models.machine import Machine, available_memory
from tools_server.models.manifest import (
    FileSource,
    HuggingFaceSource,
    ModelManifest,
    PypiWheelSource,
    Source,
    Weights,
    read_manifest,
)
from tools_server.models.report import Report
from tools_server.models.store import ModelStatus, ModelStore, Serving
from tools_server.models.tuned import EngineChoice, Gain, TunedFile, TunedRecord

__all__ = [
    "EngineChoice",
    "FileSource",
    "Gain",
    "HuggingFaceSource",
    "Machine",
    "ModelManifest",
    "ModelStatus",
    "ModelStore",
    "PypiWheelSource",
    "Report",
    "Serving",
    "Source",
    "TunedFile",
    "TunedRecord",
    "Weights",
    "available_memory",
    "read_manifest",
]
