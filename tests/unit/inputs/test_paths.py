import os
import threading
from pathlib import Path

import anyio
import pytest

from tools_server.errors import InputNotAllowed, InputTooLong, InputUnreadable
from tools_server.inputs import paths
from tools_server.inputs.paths import Sandbox

posix = pytest.mark.skipif(os.name != "posix", reason="about links and files as Unix has them")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "note.txt").write_text("hello\r\nwörld\n", "utf-8", newline="")
    (folder / "deep" / "er" / "leaf.md").write_text("leaf", "utf-8")
    (tmp_path / "secret.txt").write_text("secret", "utf-8")
    return folder


@pytest.fixture
def sandbox(root: Path) -> Sandbox:
    return Sandbox([root], max_bytes=1000)


async def test_a_file_inside_is_read_as_it_is(sandbox: Sandbox, root: Path) -> None:
    assert await sandbox.read(str(root / "note.txt")) == "hello\r\nwörld\n"
    assert await sandbox.read(str(root / "deep" / "er" / "leaf.md")) == "leaf"
    assert await sandbox.read(str(root / "deep" / ".." / "note.txt")) == "hello\r\nwörld\n"


def test_a_relative_path_is_looked_up_below_each_root(sandbox: Sandbox, root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "only-here.txt").write_text("other", "utf-8")
    both = Sandbox([root, other])
    assert both.read_now("deep/er/leaf.md") == "leaf"
    assert both.read_now("only-here.txt") == "other"
    with pytest.raises(InputUnreadable, match=r"'nowhere\.txt': no such file"):
        both.read_now("nowhere.txt")


def test_with_no_allowed_folder_nothing_is_read_and_the_message_says_how_to_allow_one(root: Path) -> None:
    with pytest.raises(InputNotAllowed, match="no folder is allowed") as caught:
        Sandbox([]).read_now(str(root / "note.txt"))
    assert "--allow-path DIR" in caught.value.hint


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../secret.txt", "deep/../../secret.txt", "{root}/../secret.txt", "/", ""]
)
def test_a_path_that_leads_outside_is_refused_and_the_roots_are_named(sandbox: Sandbox, root: Path, path: str) -> None:
    # An empty path is the root itself: a folder, which is unreadable rather than outside.
    with pytest.raises((InputNotAllowed, InputUnreadable)) as caught:
        sandbox.read_now(path.format(root=root))
    if path:
        assert isinstance(caught.value, InputNotAllowed)
        assert str(root) in caught.value.message
        assert "--allow-path DIR" in caught.value.hint


def test_a_missing_path_outside_looks_like_an_existing_one(sandbox: Sandbox, tmp_path: Path) -> None:
    messages: list[str] = []
    for name in ("secret.txt", "absent.txt"):
        with pytest.raises(InputNotAllowed) as caught:
            sandbox.read_now(str(tmp_path / name))
        messages.append(caught.value.message.replace(name, "NAME"))
    assert messages[0] == messages[1]


def test_a_sibling_whose_name_begins_like_the_root_is_outside(sandbox: Sandbox, root: Path) -> None:
    sibling = root.with_name(root.name + "-private")
    sibling.mkdir()
    (sibling / "a.txt").write_text("x", "utf-8")
    with pytest.raises(InputNotAllowed):
        sandbox.read_now(str(sibling / "a.txt"))


@posix
def test_symlinks_are_followed_inside_and_refused_outside(sandbox: Sandbox, root: Path, tmp_path: Path) -> None:
    (root / "in.txt").symlink_to(root / "note.txt")
    (root / "out.txt").symlink_to(tmp_path / "secret.txt")
    (root / "up").symlink_to(tmp_path)
    (root / "loop").symlink_to(root / "loop")
    assert sandbox.read_now("in.txt").startswith("hello")
    for escape in ("out.txt", "up/secret.txt", "up/docs/../secret.txt"):
        with pytest.raises(InputNotAllowed):
            sandbox.read_now(escape)
    with pytest.raises(InputUnreadable):
        sandbox.read_now("loop")


@posix
def test_hidden_files_and_folders_are_refused_also_behind_a_visible_symlink(sandbox: Sandbox, root: Path) -> None:
    (root / ".env").write_text("KEY=1", "utf-8")
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("x", "utf-8")
    (root / "visible.txt").symlink_to(root / ".env")
    for path in (".env", ".git/config", "visible.txt", str(root / ".git" / "config")):
        with pytest.raises(InputNotAllowed, match="dot"):
            sandbox.read_now(path)


def test_a_root_that_is_itself_hidden_may_be_allowed(tmp_path: Path) -> None:
    hidden = tmp_path / ".notes"
    hidden.mkdir()
    (hidden / "a.txt").write_text("a", "utf-8")
    assert Sandbox([tmp_path, hidden]).read_now(str(hidden / "a.txt")) == "a"


def test_a_symlink_slipped_in_after_the_check_leads_nowhere(
    sandbox: Sandbox, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check sees a harmless file and folder; before the read both become symlinks out."""
    outside = tmp_path / "er"
    outside.mkdir()
    (outside / "leaf.md").write_text("secret", "utf-8")
    checked = sandbox._locate

    def swap(target: str) -> None:
        def locate(path: str) -> tuple[Path, Path]:
            found = checked(path)
            (root / target).rename(root / "moved")
            (root / target).symlink_to(outside if target == "deep/er" else tmp_path / "secret.txt")
            return found

        monkeypatch.setattr(sandbox, "_locate", locate)

    for target, path in (("note.txt", "note.txt"), ("deep/er", "deep/er/leaf.md")):
        swap(target)
        with pytest.raises(InputUnreadable):
            sandbox.read_now(path)
        (root / "moved").rename(root / f"moved-{path.replace('/', '-')}")


def test_a_folder_is_no_file(sandbox: Sandbox, root: Path) -> None:
    with pytest.raises(InputUnreadable, match="it is a folder"):
        sandbox.read_now(str(root / "deep"))


@posix
def test_what_is_not_a_regular_file_is_refused_without_hanging(sandbox: Sandbox, root: Path) -> None:
    os.mkfifo(root / "pipe")
    with pytest.raises(InputUnreadable, match="not a regular file"):
        sandbox.read_now("pipe")
    for folder in ("deep", "", ".", str(root)):
        with pytest.raises(InputUnreadable, match="a folder"):
            sandbox.read_now(folder)
    with pytest.raises(InputUnreadable):
        sandbox.read_now("note.txt/below")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a\0b", "byte 1 is NUL"),
        ("é".encode("latin-1") + b" caf", "byte 0 is 0xe9"),
        ("text".encode("utf-16"), "not UTF-8|NUL"),
        (b"", "holds no text"),
        (b" \n\t", "holds no text"),
    ],
)
def test_what_is_not_utf8_text_is_refused_with_the_offending_byte(
    sandbox: Sandbox, root: Path, content: bytes, reason: str
) -> None:
    (root / "file").write_bytes(content)
    with pytest.raises(InputUnreadable, match=reason):
        sandbox.read_now("file")


def test_a_byte_order_mark_is_dropped(sandbox: Sandbox, root: Path) -> None:
    (root / "bom.txt").write_bytes(b"\xef\xbb\xbfhello")
    assert sandbox.read_now("bom.txt") == "hello"


def test_a_file_of_just_the_largest_size_is_read_and_one_byte_more_is_refused(sandbox: Sandbox, root: Path) -> None:
    (root / "just.txt").write_bytes(b"x" * 1000)
    (root / "more.txt").write_bytes(b"x" * 1001)
    assert len(sandbox.read_now("just.txt")) == 1000
    with pytest.raises(InputTooLong, match="1,001 bytes; at most 1,000"):
        sandbox.read_now("more.txt")


def test_a_path_with_a_nul_or_an_endless_name_is_an_error_of_ours(sandbox: Sandbox) -> None:
    for path in ("a\0b", "x" * 5000, "~nobody-has-this-name/x"):
        with pytest.raises((InputUnreadable, InputNotAllowed)):
            sandbox.read_now(path)


def test_a_file_without_read_permission_is_unreadable(
    sandbox: Sandbox, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_kwargs: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(paths.os, "open", refuse)
    with pytest.raises(InputUnreadable, match="permission denied"):
        sandbox.read_now("note.txt")


async def test_reading_does_not_block_the_event_loop_and_can_be_cancelled(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    monkeypatch.setattr(sandbox, "read_now", lambda path: release.wait(10) and "late")
    with anyio.fail_after(5):
        with anyio.move_on_after(0.01) as scope:
            await sandbox.read("note.txt")
        assert scope.cancelled_caught
    release.set()
