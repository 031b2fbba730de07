"""What becomes of errors in a call with several inputs: which stay with their input, and which end the call."""

import logging
from collections.abc import Mapping
from typing import Any

from tools_server.errors import (
    CallError,
    CapacityError,
    DecodeFailed,
    InvalidArguments,
    ToolsServerError,
)
from tools_server.surfaces import surface_of

logger = logging.getLogger(__name__)

SHOWN_ERRORS = 5


def concerns_one_input(error: ToolsServerError) -> bool:
    """Tell whether other inputs of the same call may still be answered.

    A deadline leaves what was finished before it, so it belongs to the inputs that were not.
    """
    if isinstance(error, InvalidArguments):
        return False
    return isinstance(error, CallError | CapacityError | DecodeFailed)


def failed_entry(place: Mapping[str, Any], error: ToolsServerError) -> dict[str, Any]:
    """Make the entry of an input that could not be answered; what no surface will see is logged here."""
    if surface_of(error).logged:
        logger.error("input %d: %s: %s", place["index"], error.code, error)
    return {**place, "error": {"code": error.code, "message": str(error)}}


def raise_if_none_succeeded(errors: Mapping[int, ToolsServerError], inputs: int) -> None:
    """Raise the error of a call in which every input failed with the same code, in the words of the first few.

    Raises:
        ToolsServerError: of the errors' own class.
    """
    if len(errors) < inputs or len({error.code for error in errors.values()}) != 1:
        return
    first = min(errors)
    if inputs == 1:
        raise errors[first].with_traceback(None)
    shown = [f"[{index}] {errors[index].message}" for index in sorted(errors)[:SHOWN_ERRORS]]
    more = f" (and {inputs - SHOWN_ERRORS} more alike)" if inputs > SHOWN_ERRORS else ""
    message = f"None of the {inputs} inputs could be answered: {' '.join(shown)}{more}"
    raise _reworded(errors[first], message) from errors[first]


def _reworded(error: ToolsServerError, message: str) -> ToolsServerError:
    """Make a copy with another message and everything else, such as `retry_after`, as it was."""
    copied = type(error).__new__(type(error), message)
    copied.__dict__.update(error.__dict__)
    copied.message = message
    return copied
