"""A file on this machine: copied, so that changing or deleting the original cannot pull a model from under a server."""

from tools_server.models.files import copy_bytes
from tools_server.models.manifest import FileSource
from tools_server.models.sources.base import Job, SourceFailed

__all__ = ["fetch_file"]


def fetch_file(job: Job) -> None:
    """Copy the file.

    Raises:
        SourceFailed: it cannot be read, or there is no room for the copy.
    """
    assert isinstance(job.source, FileSource)
    job.have_room(done=0)
    path = job.source.path.expanduser()
    try:
        with path.open("rb") as source, job.target.open("wb") as target:
            copy_bytes(source, target, done=0, total=job.size_bytes, report=job.report, what=f"copying {path.name}")
    except OSError as error:
        raise SourceFailed(str(error)) from error
