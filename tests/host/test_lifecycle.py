"""Finding, starting, replacing and ending hosts: one at a time, whoever asks, and nothing of a dead one in the way."""

import json
import logging
import os
import socket
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import anyio.to_thread
import psutil
import pytest
from filelock import FileLock

from tests.host.conftest import Connect, gone, posix
from tests.host.places import LIMIT_S, generation, link_to, paths_of, settings_in
from tools_server.errors import HostMismatch, HostUnavailable, ModelLoadFailed
from tools_server.host import info as negotiation
from tools_server.host import launch as launching
from tools_server.host import lifecycle
from tools_server.host.client import HostedEngine
from tools_server.host.info import State
from tools_server.host.lifecycle import HostLink, find, stop
from tools_server.settings import Settings


def pid_of(engine: HostedEngine) -> int:
    return engine._connection.host.info.pid


def test_of_ten_that_start_at_once_one_starts_a_host_and_all_get_it(folder: Path):
    settings = settings_in(folder)
    with ThreadPoolExecutor(10) as pool:
        hosts = list(pool.map(lambda _: link_to(settings).ensure(), range(10)))
    assert len({host.info.pid for host in hosts}) == 1
    assert paths_of(settings).log.read_text().count("is loaded") == 1
    assert {host.model.id for host in hosts} == {"scripted"}


@posix
def test_a_host_is_nobodys_child_and_only_its_user_can_reach_it(folder: Path):
    pid = link_to(settings_in(folder)).ensure().info.pid
    paths = paths_of(settings_in(folder))
    assert psutil.Process(pid) not in psutil.Process().children(recursive=True)
    assert os.getsid(pid) != os.getsid(0)
    assert stat.S_IMODE(paths.socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(paths.log.stat().st_mode) == 0o600
    info = find(paths)
    assert info is not None
    assert (info.pid, info.model, info.state, info.under_way) == (pid, "scripted", State.READY, 0)
    assert info.memory_bytes > 1e6


@pytest.mark.parametrize("left", [pytest.param("a bound socket", marks=posix), "a file"])
def test_what_a_dead_host_left_behind_is_cleaned_away(folder: Path, left: str):
    settings = settings_in(folder)
    paths = paths_of(settings)
    if left == "a file":
        paths.socket.write_text("")
    else:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(paths.socket))
    paths.pid.write_text("999999999")
    assert find(paths) is None
    assert link_to(settings).ensure().info.pid == int(paths.pid.read_text())


async def test_a_host_that_nobody_asks_ends_and_the_next_call_has_a_new_one(connect: Connect, folder: Path):
    engine = await connect(host_idle_s=0.3)
    first = pid_of(engine)
    with anyio.fail_after(LIMIT_S):
        await gone(first)
        paths = paths_of(settings_in(folder))
        assert not paths.socket.exists()
        assert not paths.pid.exists()
        assert "nobody asked for anything for 0.3 s" in paths.log.read_text()
        assert (await engine.generate(generation("hello"))).text
    assert pid_of(engine) != first


async def test_a_host_that_is_told_to_leave_finishes_what_is_under_way(connect: Connect, folder: Path):
    engine = await connect()
    first = pid_of(engine)
    texts: list[str] = []

    async def long_one() -> None:
        texts.append((await engine.generate(generation("slow " * 20))).text)

    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(long_one)
            while not (await engine.stats()).running:
                await anyio.lowlevel.checkpoint()
            assert await anyio.to_thread.run_sync(stop, paths_of(settings_in(folder)))
            await gone(first)
        assert texts
        assert pid_of(engine) == first, "it was answered by the host that was asked"
        assert (await engine.generate(generation("hello"))).text
    assert pid_of(engine) != first


async def test_a_model_that_cannot_be_loaded_is_told_to_who_waits_and_ends_the_host(folder: Path):
    settings = settings_in(folder)
    with anyio.fail_after(LIMIT_S):
        for _ in range(2):
            with pytest.raises(ModelLoadFailed, match=r"^The weights are bent\. Straighten them\.$"):
                await anyio.to_thread.run_sync(link_to(settings, "--load", "failing").ensure)
        paths = paths_of(settings)
        await anyio.to_thread.run_sync(lifecycle._is_gone, paths, LIMIT_S)
    assert not paths.socket.exists()


async def test_a_host_can_be_ended_while_it_loads(folder: Path):
    settings = settings_in(folder)
    paths = paths_of(settings)
    launching.launch(paths, settings, link_to(settings, "--load", "forever")._command)
    info = find(paths)
    assert info is not None
    assert info.state is State.LOADING
    with anyio.fail_after(LIMIT_S):
        assert await anyio.to_thread.run_sync(stop, paths)
        await gone(info.pid)


# Negotiation.


async def test_a_host_of_an_older_release_is_replaced_and_both_front_ends_go_on(connect: Connect, folder: Path):
    settings = settings_in(folder)
    launching.launch(paths_of(settings), settings, link_to(settings, "--protocol", "0")._command)
    old = find(paths_of(settings))
    assert old is not None
    engine = await connect()
    assert pid_of(engine) != old.pid
    with anyio.fail_after(LIMIT_S):
        await gone(old.pid)
        assert (await engine.generate(generation("hello"))).text


def test_a_host_of_a_later_release_is_left_alone_and_the_error_says_what_to_do(folder: Path):
    settings = settings_in(folder)
    later = link_to(settings, "--protocol", "99")
    launching.launch(paths_of(settings), settings, later._command)
    with pytest.raises(HostMismatch, match="runs the older") as caught:
        link_to(settings).ensure()
    assert "Restart the client" in caught.value.hint
    assert find(paths_of(settings)) is not None


async def test_a_host_with_other_settings_that_is_in_use_is_used_and_a_warning_names_them(
    connect: Connect, caplog: pytest.LogCaptureFixture
):
    first = await connect()
    with caplog.at_level(logging.WARNING):
        second = await connect(context_tokens=2048)
    assert pid_of(second) == pid_of(first)
    assert second.info.context_tokens == 4096
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "context_tokens is 4096 there, 2048 here" in warning


async def test_a_host_with_other_settings_that_nobody_uses_is_replaced_once(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
):
    first = await connect()
    monkeypatch.setattr(negotiation, "QUIET_S", 0.0)
    second = await connect(context_tokens=2048)
    assert pid_of(second) != pid_of(first)
    with anyio.fail_after(LIMIT_S):
        assert await first.count_tokens(["abc"]) == [3]
    # Back and forth would load the model at every turn.
    assert pid_of(first) == pid_of(second)
    assert (first.info.context_tokens, second.info.context_tokens) == (2048, 2048)


# Places and starts that fail.


@posix
def test_what_listens_there_and_is_no_host_is_an_error_and_not_a_guess(folder: Path):
    paths = paths_of(settings_in(folder))
    with socket.socket(socket.AF_UNIX) as listener, ThreadPoolExecutor(1) as pool:
        listener.bind(str(paths.socket))
        listener.listen()

        def answer() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(1000)
                client.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

        pool.submit(answer)
        with pytest.raises(HostUnavailable, match="is no engine host"):
            find(paths)


def test_a_socket_that_cannot_be_reached_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch):
    paths = paths_of(settings_in(folder))
    paths.socket.mkdir()

    def forbidden(*_: object) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(lifecycle, "ask", forbidden)
    with pytest.raises(HostUnavailable, match=r"Cannot connect to .*Permission denied"):
        find(paths)


def test_a_starter_that_takes_too_long_is_not_waited_for_for_ever(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lifecycle, "START_S", 0.1)
    monkeypatch.setattr(lifecycle, "ASK_S", 0.1)
    link = link_to(settings_in(folder))
    with FileLock(link.paths.start_lock), pytest.raises(HostUnavailable, match="has been starting the engine host"):
        link.ensure()


@posix
def test_a_folder_that_is_open_to_others_is_refused(folder: Path):
    folder.chmod(0o750)
    with pytest.raises(HostUnavailable, match=r"open to other users \(mode 0750\); it must be 0700") as caught:
        link_to(settings_in(folder)).ensure()
    assert f"chmod 700 {folder}" in caught.value.hint


@posix
def test_a_link_in_the_place_of_the_folder_is_refused(folder: Path):
    (folder / "real").mkdir(mode=0o700)
    (folder / "link").symlink_to(folder / "real")
    with pytest.raises(
        HostUnavailable, match="must be a folder, but it is lrwxrwxrwx: somebody else may have put it there"
    ):
        link_to(settings_in(folder / "link")).ensure()


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_refused(folder: Path):
    (folder / "theirs").mkdir(mode=0o700)
    os.chown(folder / "theirs", 12345, -1)
    with pytest.raises(HostUnavailable, match="it is of user 12345, who may have put it there"):
        link_to(settings_in(folder / "theirs")).ensure()


@posix
def test_a_path_that_is_too_long_for_a_socket_is_refused_with_the_setting_to_change(folder: Path):
    with pytest.raises(HostUnavailable, match="too long for a socket: at most 100 bytes") as caught:
        paths_of(settings_in(folder / ("x" * 80)))
    assert "`runtime_dir`" in caught.value.hint


@posix
def test_without_a_setting_a_long_runtime_folder_gives_way_to_a_short_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder / ("x" * 80)))
    settings = settings_in(folder).model_copy(update={"runtime_dir": None})
    assert paths_of(settings).folder.name == f"tools-server-{os.getuid()}"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import sys; sys.exit('error: no such model')", "error: no such model"),
        ("print('almost'); raise SystemExit(3)", "almost"),
        ("pass", "it said nothing"),
    ],
)
def test_a_host_that_ends_before_it_listens_says_why_and_where_its_log_is(folder: Path, code: str, said: str):
    settings = settings_in(folder)
    link = link_to(settings)
    link = HostLink(link.paths, settings, link._wanted, command=[link._command[0], "-c", code])
    with pytest.raises(HostUnavailable, match=f"ended before it listened: {said}") as caught:
        link.ensure()
    assert str(link.paths.log) in caught.value.hint


def test_a_host_is_given_every_setting_that_was_chosen_and_leaves_the_others_free(folder: Path):
    settings = settings_in(folder, allow_paths=(folder,))
    link = link_to(settings)
    code = "import sys; print(sys.argv[sys.argv.index('--settings') + 1])"
    link = HostLink(link.paths, settings, link._wanted, command=[link._command[0], "-c", code])
    with pytest.raises(HostUnavailable) as caught:
        link.ensure()
    given = json.loads(caught.value.message.partition("listened: ")[2].removesuffix("."))
    # Not whose files may be read: that is the front end's, and others see a command line.
    # What `models tune` found holds only for settings that nobody has chosen.
    chosen = {"model", "runtime_dir", "context_tokens", "max_sequences"}
    assert set(given) == {*chosen, "config_dir", "cache_dir"}
    assert Settings.model_validate(given).model_dump(include=chosen) == settings.model_dump(include=chosen)


def test_a_program_that_is_missing_is_an_error_and_no_wait(folder: Path):
    settings = settings_in(folder)
    link = link_to(settings)
    link = HostLink(link.paths, settings, link._wanted, command=["/nonexistent/python"])
    with pytest.raises(HostUnavailable, match=r"No such file|WinError 2"):
        link.ensure()


def test_a_host_that_never_listens_is_not_waited_for_for_ever(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(launching, "START_S", 0.2)
    settings = settings_in(folder)
    paths = paths_of(settings)
    code = f"import os, time; open({str(paths.pid)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    command = [link_to(settings)._command[0], "-c", code]
    with pytest.raises(HostUnavailable, match=r"did not listen within 0\.2 s"):
        launching.launch(paths, settings, command)


def test_a_log_that_has_grown_is_put_aside(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(launching, "LARGEST_LOG", 100)
    settings = settings_in(folder)
    paths = paths_of(settings)
    paths.log.write_text("old " * 50)
    link_to(settings).ensure()
    assert "old" not in paths.log.read_text()
    assert paths.log.with_name(f"{paths.log.name}.1").read_text() == "old " * 50


def test_a_second_host_waits_for_the_first_and_gives_up_with_the_way_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    from tools_server.host import process  # noqa: PLC0415 - the host's own side

    monkeypatch.setattr(process, "FINISH_S", 0.0)
    monkeypatch.setattr(process, "CLOSE_S", 0.0)
    settings = settings_in(folder)
    host = link_to(settings).ensure()
    link = link_to(settings)
    with pytest.raises(HostUnavailable, match="Another engine host still runs after 0 s") as caught:
        process.run_host(link.paths, link._wanted, lambda: pytest.fail("loads"), idle_s=1, listening=lambda: None)
    assert "host stop" in caught.value.hint
    assert find(link.paths) is not None
    assert json.dumps(host.info.pid) == link.paths.pid.read_text()
