"""The pipe that takes the place of the socket on Windows (`make test-windows` runs these under Wine)."""

import sys
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

if sys.platform != "win32":
    pytest.skip("there are named pipes on Windows", allow_module_level=True)

import httpx2
import ntsecuritycon
import win32api
import win32con
import win32pipe
import win32security

from tests.host.conftest import Connect
from tests.host.places import LIMIT_S, generation, paths_of, settings_in
from tools_server.host.lifecycle import find
from tools_server.host.reaching import transport
from tools_server.host.windows_pipe import PipeListener, new_name


async def test_only_its_user_may_open_a_pipe():
    listener = PipeListener(new_name())
    assert listener._free is not None
    described = win32security.GetSecurityInfo(
        listener._free.handle, win32security.SE_KERNEL_OBJECT, win32security.DACL_SECURITY_INFORMATION
    )
    allowed = described.GetSecurityDescriptorDacl()
    token = win32security.OpenProcessToken(win32api.GetCurrentProcess(), win32con.TOKEN_QUERY)
    user, _ = win32security.GetTokenInformation(token, ntsecuritycon.TokenUser)
    assert [allowed.GetAce(number)[2] for number in range(allowed.GetAceCount())] == [user]
    listener.close()


def test_no_name_is_like_another():
    names = {new_name() for _ in range(100)}
    assert len(names) == 100
    assert all(len(name.rpartition("-")[2]) == 32 for name in names)


async def test_large_requests_and_answers_arrive_whole(connect: Connect):
    engine = await connect()
    with anyio.fail_after(LIMIT_S):
        texts = [f"{number} " * 30_000 for number in range(3)]  # each is almost as large as what a pipe holds
        assert await engine.count_tokens(texts) == [len(text) for text in texts]


def come_and_go(pipe: str) -> None:
    while True:
        win32pipe.WaitNamedPipe(pipe, 10_000)  # until the host takes the next one
        try:
            return open(pipe, "r+b", buffering=0).close()  # noqa: PTH123 - a pipe is no path
        except OSError:  # somebody else was faster
            continue


async def test_a_client_that_leaves_at_once_keeps_nobody_else_away(connect: Connect, folder: Path):
    engine = await connect()
    name = paths_of(settings_in(folder)).socket.read_text("ascii")
    with anyio.fail_after(LIMIT_S):
        for _ in range(50):
            await anyio.to_thread.run_sync(come_and_go, name)
        assert (await engine.generate(generation("hello"))).text
        assert find(paths_of(settings_in(folder))) is not None


@pytest.mark.parametrize("left", ["nothing", "the name of a dead host's pipe", "something else \xff"])
async def test_where_no_host_listens_a_client_hears_it(folder: Path, left: str):
    paths = paths_of(settings_in(folder))
    if left != "nothing":
        paths.socket.write_bytes((new_name() if "dead" in left else left).encode("latin-1"))
    async with httpx2.AsyncClient(transport=transport(paths, httpx2.Limits()), trust_env=False) as client:
        with anyio.fail_after(LIMIT_S), pytest.raises(httpx2.ConnectError):
            await client.get("http://host/v1/info")
