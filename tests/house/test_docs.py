"""The prose holds: links lead somewhere, commands parse, targets exist, generated pages are current."""

import re
import runpy
import shlex
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tools_server import cli

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def prose(page: Path) -> str:
    return BLOCK.sub("", page.read_text("utf-8"))


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@EVERY_PAGE
def test_every_relative_link_leads_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{target} does not exist"
        if anchor and linked.suffix == ".md":
            assert anchor in anchors(linked), f"{target}: no such heading"


@EVERY_PAGE
def test_every_make_target_that_is_named_exists(page: Path):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    text = page.read_text("utf-8")
    named = re.findall(r"`make ([a-z-]+)", text) + re.findall(r"^\$? ?make ([a-z-]+)", text, re.MULTILINE)
    assert set(named) <= targets


def commands(page: Path) -> list[str]:
    """Every `tools-server …` command: lines of code blocks, and what stands between backticks."""
    text = page.read_text("utf-8")
    lines = [line.strip() for _, block in BLOCK.findall(text) for line in block.splitlines()]
    lines += re.findall(r"`(tools-server [^`]+)`", prose(page))
    found = [re.search(r"(?:^|\s|\$ )(tools-server (?!-)[a-z].*)", line) for line in lines]
    return [match[1].partition(" #")[0].partition(" | ")[0].strip() for match in found if match]


@EVERY_PAGE
def test_every_command_that_is_shown_parses(page: Path):
    if page.name == "cli.md":  # written from the commands themselves
        return
    for command in commands(page):
        words = [word for word in shlex.split(command)[1:] if word not in ("…", "...")]
        assert parses(words), f"`{command}` does not parse"


def parses(words: list[str]) -> bool:
    """Let the real parser read the words of a command without running it."""
    command = typer.main.get_group(cli.app)
    context = typer.Context(command, info_name="tools-server")
    while hasattr(command, "resolve_command"):
        name, command, words = command.resolve_command(context, words)
        context = typer.Context(command, parent=context, info_name=name)
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    return all(word.split("=")[0] in known | {"--help"} for word in words if word.startswith("--"))


def test_the_generated_pages_are_current():
    pages = runpy.run_path(str(ROOT / "docs" / "generate.py"))["pages"]()
    stale = [name for name, text in pages.items() if (ROOT / "docs" / name).read_text("utf-8") != text]
    assert stale == [], "run `make docs`"


@pytest.mark.parametrize("name", ["", *cli.COMMANDS])
def test_help_of_every_command_shows_examples(name: str):
    result = CliRunner().invoke(cli.app, [*name.split(), "--help"], prog_name="tools-server")
    assert result.exit_code == 0
    assert "Examples" in result.output


def test_the_call_in_architecture_md_names_modules_and_functions_that_exist():
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    call = page.partition("## One call, numbered")[2].partition("\n## ")[0]
    steps = re.findall(r"^\d+\. .*?(?=^\d+\. |\Z)", call, re.MULTILINE | re.DOTALL)
    assert len(steps) >= 8
    for step in steps:
        places = re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py|[a-z_]+\.py)(?:::([A-Za-z_.]+))?`", step)
        assert places, f"no module named in: {step}"
        for path, name in places:
            source = ROOT / "tools_server" / path
            assert source.exists(), f"tools_server/{path} does not exist"
            for part in filter(None, name.split(".")):
                assert re.search(rf"\b(def|class) {part}\b", source.read_text("utf-8")), f"no {name} in {path}"


def test_the_file_map_in_the_readme_matches_the_tree():
    readme = (ROOT / "README.md").read_text("utf-8")
    block = next(block for _, block in BLOCK.findall(readme) if "tools_server/" in block and "models/" in block)
    mapped = dict(re.findall(r"^(\s*\S+)\s{2,}(\S.*)$", block, re.MULTILINE))
    top = {name.strip() for name in mapped if not name.startswith(" ")}
    inside = {name.strip() for name in mapped if name.startswith(" ")}
    assert all((ROOT / name).exists() for name in top)
    assert all((ROOT / "tools_server" / name).exists() for name in inside)
    rooms = {f"{path.name}/" for path in (ROOT / "tools_server").iterdir() if (path / "__init__.py").exists()}
    modules = {path.name for path in (ROOT / "tools_server").glob("[a-z]*.py")}
    assert rooms | modules == inside, "every room and top-level module has its line"
