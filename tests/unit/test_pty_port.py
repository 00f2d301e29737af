import asyncio
import fcntl
import os
import sys
from asyncio.subprocess import PIPE

import pytest

from drivers.errors import LinkError
from drivers.link import make_link, parse_address
from drivers.pty_port import PtyPort


def line(reply):
    end = reply.find(b"\n")
    return None if end < 0 else end + 1


async def box(port):
    """Answer every line with the same in capitals."""
    while True:
        port.write((await port.read()).upper())


async def serving(port):
    task = asyncio.create_task(box(port))
    await asyncio.sleep(0)
    return task


def test_it_answers_counts_its_clients_and_leaves_nothing_behind():
    async def run():
        boots = []
        with PtyPort(on_open=lambda: boots.append(len(boots))) as port:
            answering = await serving(port)
            link = make_link(parse_address(port.address + "?baud=19200"))
            for again in range(3):
                await link.open(5)
                assert await link.exchange(b"hello\n", line, 5) == b"HELLO\n"
                assert port.opened == again + 1 and len(boots) == again + 1
                await link.close()
                await until(lambda: not port._client)
            answering.cancel()
            return port.path

    path = asyncio.run(run())
    assert not path.is_symlink() and not path.parent.exists()


def test_what_has_the_name_already_is_left_alone(tmp_path):
    name = tmp_path / "board"
    name.write_text("precious")
    with pytest.raises(FileExistsError, match="something else of that name"):
        PtyPort(name)
    assert name.read_text() == "precious" and list(tmp_path.iterdir()) == [name]
    name.unlink()
    name.symlink_to("/dev/null")
    with pytest.raises(FileExistsError):
        PtyPort(name)
    assert os.readlink(name) == "/dev/null"
    name.unlink()
    name.symlink_to("/dev/pts/left-by-a-killed-simulator")
    with PtyPort(name), PtyPort(name) as later:
        found = os.readlink(name)
        later.replug()
        assert os.readlink(name) == found
    assert not name.is_symlink()
    with PtyPort(name) as earlier, PtyPort(name):
        earlier.unplug()
        assert name.is_symlink(), "the name is the later one's"


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def test_what_is_said_while_nobody_has_it_open_is_not_heard_later():
    async def run():
        with PtyPort() as port:
            answering = await serving(port)
            port.write(b"to nobody\n")
            link = make_link(parse_address(port.address))
            await link.open(5)
            assert await link.exchange(b"x\n", line, 5) == b"X\n"
            await link.close()
            await until(lambda: not port._client)
            port.write(b"to nobody\n")
            await link.open(5)
            await link.write(b"y\n", 5)
            assert await link.read(5) == b"Y\n"
            await link.close()
            answering.cancel()

    asyncio.run(run())


def test_a_pulled_cable_and_a_new_one_under_the_same_name(tmp_path):
    async def run():
        name = tmp_path / "usb-box"
        with PtyPort(name) as port:
            answering = await serving(port)
            link = make_link(parse_address(port.address))
            await link.open(5)
            assert await link.exchange(b"a\n", line, 5) == b"A\n"
            before = os.readlink(name)
            port.unplug()
            with pytest.raises(LinkError, match="the port is gone"):
                await link.read(5)
            with pytest.raises(LinkError, match="absent"):
                await link.open(5)
            held = [os.openpty() for _ in range(2)]  # so that the new port has another number
            port.replug()
            assert os.readlink(name) != before
            await link.open(5)
            assert await link.exchange(b"b\n", line, 5) == b"B\n"
            await link.close()
            answering.cancel()
            for pair in held:
                for fd in pair:
                    os.close(fd)

    asyncio.run(run())
    assert not (tmp_path / "usb-box").is_symlink()


def test_a_client_that_does_not_read_loses_and_it_is_counted():
    async def run():
        with PtyPort() as port:
            reading = asyncio.create_task(port.read())
            client = os.open(port.path, os.O_RDWR | os.O_NOCTTY)
            await until(lambda: port.opened)
            for _ in range(1000):
                port.write(bytes(1000))
            assert 500_000 < port.lost < 1_000_000
            os.close(client)
            reading.cancel()

    asyncio.run(run())


TIOCGEXCL = 0x80045440  # tty_ioctl(4): is it exclusive?


def test_a_killed_client_does_not_leave_it_locked():
    code = (
        "import fcntl, os, sys, termios, time\n"
        "fcntl.ioctl(os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY), termios.TIOCEXCL)\n"
        "print('open', flush=True)\n"
        "time.sleep(60)\n"
    )

    async def run():
        with PtyPort() as port:
            answering = await serving(port)
            for _ in range(2):
                client = await asyncio.create_subprocess_exec(sys.executable, "-c", code, port.path, stdout=PIPE)
                assert await client.stdout.readline() == b"open\n"
                await until(lambda: port._client)
                client.kill()
                await client.wait()
                await until(lambda: not port._client)
                near_end = os.open(port.path, os.O_RDWR | os.O_NOCTTY)
                assert fcntl.ioctl(near_end, TIOCGEXCL, bytes(4)) == bytes(4)
                os.close(near_end)
            answering.cancel()

    asyncio.run(run())
