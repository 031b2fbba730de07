"""Hot reload: follow the directories of skills and of adapter versions, and publish what changed."""

import logging
from contextlib import aclosing
from pathlib import Path

import anyio
from anyio.to_thread import run_sync
from watchfiles import awatch  # pyright: ignore[reportUnknownVariableType]

from tools_server.skills.catalog import Catalog
from tools_server.skills.folder import skill_folders

QUIET_MS = 100
"""A burst of changes is over when nothing happened for this long, …"""
BURST_MS = 1000
"""… or has lasted this long."""
LOOK_MS = 1000
"""How often sizes and times are compared besides: for directories that do not exist yet, for changes made before the
watch stood, and for file systems that report none."""

_log = logging.getLogger(__name__)


async def watch(catalog: Catalog) -> None:
    """Publish every change of the catalog's directories, for ever; cancel it to stop.

    Files are read in a worker thread; subscribers are called in the event loop.
    """
    complained = False
    while True:
        paths = await run_sync(_watchable, catalog)
        try:
            if paths:
                await _follow(catalog, paths)
        except (OSError, RuntimeError) as error:  # watchfiles raises both, for example for too many watches
            if not complained:
                _log.warning("cannot watch the skills directories (%s); looking every %d ms instead", error, LOOK_MS)
            complained = True
        await anyio.sleep(LOOK_MS / 1000)
        await _look(catalog)


async def _follow(catalog: Catalog, paths: frozenset[Path]) -> None:
    """Follow these directories until another set of them is there to be followed."""
    changes = awatch(
        *paths,
        debounce=BURST_MS,
        step=QUIET_MS,
        rust_timeout=LOOK_MS,
        yield_on_timeout=True,
        ignore_permission_denied=True,
    )
    async with aclosing(changes):
        async for changed in changes:
            if changed:
                catalog.publish(await run_sync(catalog.read))
            else:
                await _look(catalog)
            if await run_sync(_watchable, catalog) != paths:
                return


async def _look(catalog: Catalog) -> None:
    if await run_sync(catalog.is_stale):
        catalog.publish(await run_sync(catalog.read))


def _watchable(catalog: Catalog) -> frozenset[Path]:
    """The directories that exist, and where skill folders that are symbolic links lead."""
    present = [path for path in catalog.followed if path.is_dir()]
    linked = [folder.resolve() for path in present for folder in skill_folders(path) if folder.is_symlink()]
    return frozenset([*present, *linked])
