"""Packages of an extra: imported when they are used, and missed with the command that brings them."""

import importlib
from typing import Any

from tools_server.errors import ToolsServerError

__all__ = ["import_extra"]


def import_extra(name: str, extra: str, what: str, error: type[ToolsServerError]) -> Any:
    """Import a package of an extra. What comes of it is `Any` on purpose: most of these packages have no types.

    Raises:
        ToolsServerError: `error`, when it is not installed; `what` begins the message.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as missing:
        raise error(
            f"{what} needs the package {missing.name}, which is not installed.",
            f"Install the extra: `pip install 'tools-server[{extra}]'`.",
        ) from missing
