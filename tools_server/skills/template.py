"""`prompt.jinja`: the sandbox that it runs in, and what can be known of a prompt before it is used.

A prompt is blocks and nothing else: `system` (optional), `user`, and `assistant` (optional, fixed text that the
answer begins with). It cannot include, import or extend, and it sees its skill's arguments only.
"""

import difflib
import json
from collections.abc import Collection, Iterable
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, nodes, pass_context
from jinja2.meta import find_undeclared_variables
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tools_server.skills.folder import Problem
from tools_server.skills.marks import Marks

FILE = "prompt.jinja"
BLOCKS = ("system", "user", "assistant")
MARKS = "__marks"
"""Where a rendering keeps its `Marks`; no prompt may name it, for it is no argument."""


def compile_prompt(source: str, variables: Collection[str]) -> Template:
    """Check and compile a prompt that may use `variables`.

    Raises:
        Problem: the first thing that is wrong, with its line.
    """
    try:
        tree = _ENVIRONMENT.parse(source)
        _check_structure(tree)
        _check_variables(tree, variables)
        return _ENVIRONMENT.from_string(source)
    except TemplateSyntaxError as error:
        raise Problem(FILE, f"line {error.lineno}", error.message or "is not a Jinja template") from error
    except RecursionError as error:
        raise Problem(FILE, "", "nests too deep") from error


def _check_structure(tree: nodes.Template) -> None:
    for node in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
        raise _problem(node, "a prompt cannot include, import or extend other templates")
    for node in tree.body:
        if isinstance(node, nodes.Block):
            _check_block(node)
        elif not _is_blank(node):
            raise _problem(node, "stands outside of the blocks and would be lost; put it into a block")
    names = [node.name for node in tree.body if isinstance(node, nodes.Block)]
    if "user" not in names:
        raise Problem(FILE, "block user", "is missing; it is the message that the model answers")


def _check_block(block: nodes.Block) -> None:
    if block.name not in BLOCKS:
        near = difflib.get_close_matches(block.name, BLOCKS, n=1, cutoff=0.0)[0]
        raise _problem(block, f"unknown block `{block.name}`; did you mean `{near}`? (known: {', '.join(BLOCKS)})")
    for inner in block.find_all(nodes.Block):
        raise _problem(inner, f"block `{inner.name}` stands inside of block `{block.name}`; blocks do not nest")
    if block.name == "assistant":
        for output in block.find_all(nodes.Output):
            for child in output.nodes:
                if not isinstance(child, nodes.TemplateData):
                    raise _problem(child, "block `assistant` begins the answer: it can be fixed text only")


def _check_variables(tree: nodes.Template, variables: Collection[str]) -> None:
    for name in tree.find_all(nodes.Name):
        if name.name in ("self", "super"):
            raise _problem(name, f"`{name.name}` is not there: blocks do not refer to each other")
    used = find_undeclared_variables(tree)
    unknown = used - set(variables) - set(_ENVIRONMENT.globals)
    for name in tree.find_all(nodes.Name):
        if name.name in unknown:
            near = difflib.get_close_matches(name.name, variables, n=1, cutoff=0.0)[0]
            known = ", ".join(sorted(variables))
            raise _problem(name, f"unknown variable `{name.name}`; did you mean `{near}`? (known: {known})")
    if "text" not in used:
        raise Problem(FILE, "block user", "the prompt never prints `text`, so the model would never see the input")


def _is_blank(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Output) and all(
        isinstance(child, nodes.TemplateData) and not child.data.strip() for child in node.nodes
    )


def _problem(node: nodes.Node, reason: str) -> Problem:
    return Problem(FILE, f"line {node.lineno}", reason)


@pass_context
def _finalize(context: Context, value: Any) -> str:
    """Turn a printed value into text, marked as payload; None prints nothing."""
    if value is None:
        return ""
    if isinstance(value, int | float):
        return str(value)
    marks: Marks = context[MARKS]
    return marks.around(str(value))


def _to_json(value: Any, indent: int | None = None) -> str:
    """Give JSON for a prompt: Jinja's own filter escapes for HTML.

    Compact, as the constraint makes the model write its answer: what a prompt shows, a model goes on with.
    """
    return json.dumps(value, ensure_ascii=False, indent=indent, separators=None if indent else (",", ":"))


def _environment(without_filters: Iterable[str], without_globals: Iterable[str]) -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
        finalize=_finalize,
        optimized=False,  # nothing is computed when a folder is read, not even `{{ 9 ** 9 ** 9 }}`
        autoescape=False,
    )
    for name in without_filters:
        del environment.filters[name]
    for name in without_globals:
        del environment.globals[name]
    environment.filters["tojson"] = _to_json
    return environment


# `random` would make the same call a different prompt, `lipsum` is filler.
_ENVIRONMENT = _environment(without_filters=("random",), without_globals=("lipsum",))
