"""Direction of imports, and what may be imported where, as import-linter sees it."""

import configparser
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_every_import_contract_is_kept():
    lint = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(lint, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_contract_on_layers_leaves_out_no_room():
    contracts = configparser.ConfigParser(inline_comment_prefixes=())
    contracts.read(ROOT / ".importlinter", "utf-8")
    rooms = contracts["importlinter:contract:rooms"]
    assert rooms["exhaustive"] == "True"
    assert rooms["exhaustive_ignores"].split() == ["__main__"]


IMPORT_LIGHTLY = ["tools_server.errors", "tools_server.settings", "tools_server.cli"]
HEAVY = ("llama_cpp", "outlines", "llguidance", "numpy", "mcp", "jinja2", "huggingface_hub")


@pytest.mark.parametrize("module", IMPORT_LIGHTLY)
def test_the_command_line_starts_without_anything_heavy(module: str):
    code = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_the_server_is_assembled_without_the_model_and_its_libraries():
    code = (
        "import sys, tools_server.app; "
        "print([name for name in ('llama_cpp', 'outlines', 'llguidance') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
