"""What a module offers under `__all__` exists, and every module and room says what it is."""

import ast
import importlib
import pkgutil
import sys
from pathlib import Path

import pytest

import tools_server

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(tools_server.__path__, "tools_server.")
    if module.name != "tools_server.__main__"
)
PACKAGE = Path(tools_server.__path__[0])


def importable(name: str) -> object:
    """A module that can be imported only on one system is skipped on the others."""
    other = "posix" if sys.platform == "win32" else "windows"
    mark = pytest.mark.skip(reason=f"only on {other}")
    return pytest.param(name, marks=mark) if name.rpartition(".")[2].startswith(f"{other}_") else name


@pytest.mark.parametrize("name", [importable(name) for name in MODULES])
def test_a_module_has_a_docstring_and_exports_what_it_promises(name: str):
    module = importlib.import_module(name)
    assert (module.__doc__ or "").strip(), f"{name} does not say what it is"
    assert [each for each in getattr(module, "__all__", ()) if not hasattr(module, each)] == []


def test_every_folder_of_the_package_is_a_package():
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


def test_modules_stay_short_enough_to_read():
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in PACKAGE.rglob("*.py")}
    assert [str(path) for path, length in lengths.items() if length > 400] == [], "two files, rather"
    assert sum(length <= 250 for length in lengths.values()) >= 0.9 * len(lengths), "most modules stay below 250 lines"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_exception_is_swallowed(path: Path):
    """An `except` that does nothing hides what happened; `contextlib.suppress` names what it hides."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ExceptHandler) and all(_does_nothing(statement) for statement in node.body):
            caught = ast.unparse(node.type) if node.type else "everything"
            assert caught not in ("everything", "Exception", "BaseException"), f"line {node.lineno} swallows {caught}"


def _does_nothing(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Pass | ast.Continue) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )
