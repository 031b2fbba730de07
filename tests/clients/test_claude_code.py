"""Claude Code, as npm ships it, uses tools-server: it connects, calls a skill, and hands the typed answer on.

Its model is a script on this machine (see scripted_api.py); nothing leaves the machine, and everything that Claude
Code writes goes into the test's own folder.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.clients.scripted_api import ScriptedApi, scripted_api, text, tool_use
from tools_server.settings import load_settings

pytestmark = [pytest.mark.clients, pytest.mark.native]

ROOT = Path(__file__).parents[2]
CLAUDE = ROOT / ".cache" / "clients" / "node_modules" / ".bin" / "claude"
SMALL_MODEL = "smollm2-135m-instruct"
SERVER = [sys.executable, "-m", "tools_server", "serve", "--model", SMALL_MODEL]
LABELS = ["billing", "technical", "praise"]
TEXT = "I was charged twice for my subscription this month. Please refund one of the payments."


class Claude:
    """Claude Code in a home folder of its own."""

    def __init__(self, home: Path) -> None:
        self.project = home / "project"
        self.project.mkdir()
        names = ("PATH", "LANG", "XDG_CACHE_HOME", "TOOLS_SERVER_RUNTIME_DIR")
        kept = {name: os.environ[name] for name in names if name in os.environ}
        self.environment = kept | {
            "HOME": str(home),
            "CLAUDE_CONFIG_DIR": str(home / ".claude"),
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            "ANTHROPIC_API_KEY": "dummy",
            "ANTHROPIC_BASE_URL": "http://127.0.0.1:9",  # nobody answers: a test that needs a model sets its own
            # The server's home is the test's as well; the weights stay where `make setup` put them.
            "TOOLS_SERVER_CACHE_DIR": str(load_settings().cache_dir),
        }

    def __call__(self, *arguments: str, timeout: float = 120, **environment: str) -> str:
        done = subprocess.run(
            [str(CLAUDE), *arguments],
            cwd=self.project,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, f"claude {arguments[0]} failed:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def agent(self, api: ScriptedApi) -> list[dict[str, Any]]:
        """Run one whole agent loop against the scripted model; give Claude Code's own account of it."""
        config = self.project / "mcp.json"
        config.write_text(json.dumps({"mcpServers": {"tools-server": {"command": SERVER[0], "args": SERVER[1:]}}}))
        output = self(
            *("-p", "What is this mail about?", "--mcp-config", str(config), "--strict-mcp-config"),
            *("--allowedTools", "mcp__tools-server", "--output-format", "stream-json", "--verbose"),
            ANTHROPIC_BASE_URL=api.url,
        )
        return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


@pytest.fixture
def claude(tmp_path: Path) -> Claude:
    if not CLAUDE.exists():
        pytest.fail(f"{CLAUDE} is missing: run `make test-clients`, which installs it.")
    return Claude(tmp_path)


def test_claude_mcp_list_prints_connected(claude: Claude):
    claude("mcp", "add", "tools-server", "--", *SERVER)
    listed = claude("mcp", "list")
    (line,) = [line for line in listed.splitlines() if line.startswith("tools-server:")]
    assert line.endswith("✔ Connected"), listed


def test_an_agent_loop_calls_classify_and_the_model_gets_the_typed_answer(claude: Claude):
    call = tool_use("mcp__tools-server__classify", {"text": TEXT, "labels": LABELS})

    with scripted_api([call, text("The customer writes about billing.")]) as api:
        events = claude.agent(api)

    (start,) = [event for event in events if event.get("subtype") == "init"]
    assert {"name": "tools-server", "status": "connected"}.items() <= start["mcp_servers"][0].items()
    assert {f"mcp__tools-server__{skill}" for skill in ("summarise", "classify", "extract")} <= set(start["tools"])

    (result,) = api.tool_results()
    assert not result.get("is_error"), result
    answer = typed_answer(result["content"])
    assert answer["label"] in LABELS
    assert 0 <= answer["confidence"] <= 1
    assert set(answer["scores"]) == set(LABELS)
    assert sum(answer["scores"].values()) == pytest.approx(1, abs=0.01)

    assert events[-1]["result"] == "The customer writes about billing."
    assert events[-1]["is_error"] is False


def test_a_call_that_breaks_the_schema_reaches_the_model_as_a_readable_error(claude: Claude):
    call = tool_use("mcp__tools-server__classify", {"text": TEXT, "labels": "billing"})

    with scripted_api([call, text("I will mend the call.")]) as api:
        claude.agent(api)

    (result,) = api.tool_results()
    assert result["is_error"] is True
    shown = json.dumps(result["content"])
    assert "labels" in shown
    assert "Traceback" not in shown


def typed_answer(content: str | list[dict[str, Any]]) -> dict[str, Any]:
    """Read the JSON that the client put before its model: a string, or text blocks."""
    if isinstance(content, list):
        content = "".join(block["text"] for block in content if block["type"] == "text")
    return json.loads(content)
