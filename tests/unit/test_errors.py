"""The error tree: every class is mapped, drawn in the docstring, raised somewhere, and its message read by a test."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tools_server import errors
from tools_server.errors import (
    CallError,
    EngineDied,
    InvalidArguments,
    ModelNotFound,
    QueueFull,
    SettingsError,
    SkillNotFound,
    ToolsServerError,
)
from tools_server.surfaces import surface_of

ROOT = Path(__file__).parents[2]


def classes(kind: type[ToolsServerError] = ToolsServerError) -> list[type[ToolsServerError]]:
    """The tree below `kind`, parents before children, in the order of the source."""
    children = [child for child in kind.__subclasses__() if child.__module__ == errors.__name__]
    return [each for child in children for each in (child, *classes(child))]


def leaves() -> list[type[ToolsServerError]]:
    return [kind for kind in classes() if not classes(kind)]


def named(kinds: list[type[ToolsServerError]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("kind", kinds, ids=lambda kind: kind.__name__)


@named(classes())
def test_every_class_says_how_it_shows(kind: type[ToolsServerError]):
    surface = surface_of(kind)
    assert surface.exit_code in (1, 2, 3, 4)


def test_a_class_outside_the_map_is_found_out():
    class Stray(ToolsServerError):
        """Has no ancestor in the map."""

    with pytest.raises(KeyError, match="Stray"):
        surface_of(Stray)


def test_every_code_is_unique():
    codes = [kind.code for kind in classes()]
    assert len(set(codes)) == len(codes)


def test_every_class_of_the_module_is_exported():
    assert {kind.__name__ for kind in classes()} | {"ToolsServerError"} == set(errors.__all__)


def test_the_docstring_draws_the_tree_as_it_is():
    lines = (errors.__doc__ or "").splitlines()
    drawn = [
        (match["indent"].count("│") + 1, match["name"])
        for line in lines
        if (match := re.match(r"\s+(?P<indent>[│ ]*)[├└] (?P<name>\w+)", line))
    ]
    actual = [(kind.__mro__.index(ToolsServerError), kind.__name__) for kind in classes()]
    assert drawn == actual


def test_the_message_comes_first_and_the_hint_after_it():
    error = SettingsError("Setting `x` is unknown.", "Did you mean `y`?")
    assert str(error) == "Setting `x` is unknown. Did you mean `y`?"
    assert str(SettingsError("Only what failed.")) == "Only what failed."


def test_a_full_queue_says_when_to_come_back():
    error = QueueFull("256 requests are waiting.", "Try again in 3 s.", retry_after=3.0)
    assert error.retry_after == 3.0
    assert str(error) == "256 requests are waiting. Try again in 3 s."


@pytest.mark.parametrize(
    ("kind", "mcp_result", "exit_code"),
    [
        (InvalidArguments, True, 1),
        (CallError, True, 1),
        (SkillNotFound, False, 2),
        (SettingsError, True, 2),
        (ModelNotFound, True, 3),
        (EngineDied, True, 4),
    ],
)
def test_the_nearest_ancestor_in_the_map_decides(kind: type[ToolsServerError], mcp_result: bool, exit_code: int):
    surface = surface_of(kind("x"))
    assert (surface.mcp_result, surface.exit_code) == (mcp_result, exit_code)


def trees(folder: str) -> Iterator[ast.Module]:
    for path in sorted((ROOT / folder).rglob("*.py")):
        if path.name != "errors.py":
            yield ast.parse(path.read_text("utf-8"), str(path))


@cache
def made_in_the_package() -> set[str]:
    """Names of everything that the package calls: an error that is never made is never raised."""
    return {
        name_of(node.func) for tree in trees("tools_server") for node in ast.walk(tree) if isinstance(node, ast.Call)
    }


@cache
def read_in_tests() -> set[str]:
    """Errors that some test expects and whose words it reads: `raises(X, match=…)`, or `message`, `hint` or `str`."""
    read: set[str] = set()
    for tree in trees("tests"):
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            nodes = list(ast.walk(function))
            reads = any(isinstance(node, ast.Attribute) and node.attr in ("message", "hint") for node in nodes) or any(
                isinstance(node, ast.Call) and name_of(node.func) == "str" for node in nodes
            )
            for call in (node for node in nodes if isinstance(node, ast.Call) and name_of(node.func) == "raises"):
                if reads or any(keyword.arg == "match" for keyword in call.keywords):
                    read |= {name_of(name) for name in ast.walk(call.args[0])}
                    if name_of(call.args[0]) in {argument.arg for argument in function.args.args}:  # parametrised
                        read |= {name_of(name) for mark in function.decorator_list for name in ast.walk(mark)}
    return read


def name_of(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


@named(leaves())
def test_every_error_is_raised_somewhere(kind: type[ToolsServerError]):
    assert kind.__name__ in made_in_the_package(), f"{kind.__name__} is never raised: raise it or remove it"


@named(leaves())
def test_every_error_has_a_test_that_reads_its_message(kind: type[ToolsServerError]):
    assert kind.__name__ in read_in_tests(), f"no test reads the message of {kind.__name__}"
