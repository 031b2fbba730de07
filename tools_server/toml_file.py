"""Reading a TOML file into a model, with an error that names file, key and reason."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tools_server.errors import ToolsServerError

__all__ = ["read_toml"]

M = TypeVar("M", bound=BaseModel)


def read_toml(path: Path, model: type[M], wrong: Callable[[str], ToolsServerError]) -> M:
    """Read a file and validate it. `wrong` makes the error out of a message.

    Raises:
        ToolsServerError: what `wrong` gives, for a file that cannot be read, is not TOML, or breaks its model.
    """
    try:
        return model.model_validate(tomllib.loads(path.read_text("utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise wrong(f"{path}: cannot be read: {error}.") from error
    except ValidationError as error:
        first = _telling(error.errors(include_url=False))
        key = ".".join(str(step) for step in first["loc"])
        raise wrong(f"{path}: {key}: {first['msg']}." if key else f"{path}: {first['msg']}.") from error


def _telling(found: list[ErrorDetails]) -> ErrorDetails:
    """The first error; but where a word or a table may stand, a wrong table also shows up as no such word."""
    return next((each for each in found if each["type"] != "literal_error"), found[0])
