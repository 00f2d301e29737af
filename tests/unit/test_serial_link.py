"""What only serial ports have: names, owners, control lines, cables that are pulled."""

import asyncio
import errno
import fcntl
import grp
import os
import subprocess
import sys
import termios
import threading
import time
import tty

import pytest

from drivers import serial_link
from drivers.errors import LinkError, LinkTimeout
from drivers.link import Address, make_link, parse_address
from drivers.pty_port import PtyPort
from tests.loop_lag import LoopLag


def line(reply):
    end = reply.find(b"\n")
    return None if end < 0 else end + 1


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
def pty():
    """A serial port: the box's side, and the path of ours."""
    far_end, near_end = os.openpty()
    tty.setraw(near_end)
    path = os.ttyname(near_end)
    os.close(near_end)
    yield far_end, path
    os.close(far_end)


def opened(path, **options):
    async def run():
        link = make_link(Address("serial", path=str(path), options=options))
        await link.open(10)
        await link.close()

    asyncio.run(run())


def ioctls(monkeypatch):
    """Write down what is done to control lines, which a pty does not have."""
    done = []

    def ioctl(fd, request, *rest):
        done.append(request)
        if request in (termios.TIOCMBIS, termios.TIOCMBIC):
            done[-1] = ("up" if request == termios.TIOCMBIS else "down", int.from_bytes(rest[0], sys.byteorder))
            return b""
        return real(fd, request, *rest)

    real = fcntl.ioctl
    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    return done


# settings


@pytest.mark.parametrize(
    ("baud", "speed"), [("115200", termios.B115200), ("9600", termios.B9600), (None, termios.B9600)]
)
def test_speed_and_the_raw_mode(pty, baud, speed):
    far_end, path = pty
    opened(path, **({"baud": baud} if baud else {}), frame="8N2")
    iflag, oflag, cflag, lflag, ispeed, ospeed, _ = termios.tcgetattr(far_end)
    assert ispeed == ospeed == speed
    assert cflag & termios.CSTOPB and not cflag & termios.PARENB and cflag & termios.CSIZE == termios.CS8
    assert not lflag & (termios.ICANON | termios.ECHO | termios.ISIG)
    assert not oflag & termios.OPOST and not iflag & (termios.ICRNL | termios.IXON | termios.IXOFF)


def test_a_speed_that_is_in_no_table(pty):
    opened(pty[1], baud="250000")


@pytest.mark.parametrize("frame", ["7E1", "8O1", "7N1", "5M2"])
def test_settings_that_the_port_does_not_take_are_told(pty, frame):
    for _ in range(2):
        with pytest.raises(LinkError, match=r"does not take these settings \(baud, frame\)"):
            opened(pty[1], frame=frame)  # a pty has eight bits and no parity


def test_xonxoff_stops_and_goes_on(pty):
    far_end, path = pty

    async def run():
        link = make_link(Address("serial", path=path, options={"xonxoff": "on"}))
        await link.open(10)
        for _ in range(2):
            os.write(far_end, b"\x13x")  # XOFF
            assert await link.read(10) == b"x"  # the kernel has kept the XOFF to itself
            writing = asyncio.create_task(link.write(b"y", 10))
            await asyncio.sleep(0.02)
            assert not writing.done()
            os.write(far_end, b"\x11")  # XON
            await writing
            assert os.read(far_end, 9) == b"y"
        os.write(far_end, b"\x13x")
        assert await link.read(10) == b"x"
        with pytest.raises(LinkTimeout, match=r"could not send 1 bytes within 0\.2 s"):
            await link.write(b"y", 0.2)

    asyncio.run(run())


DTR = termios.TIOCM_DTR


@pytest.mark.parametrize(
    ("policy", "lines", "hupcl"),
    [("keep", [], True), ("on", [("up", DTR)], True), ("off", [("down", DTR)], True), ("hupcl-off", [], False)],
)
def test_what_is_done_to_dtr(pty, monkeypatch, policy, lines, hupcl):
    far_end, path = pty
    attributes = termios.tcgetattr(far_end)
    attributes[2] |= termios.HUPCL
    termios.tcsetattr(far_end, termios.TCSANOW, attributes)
    done = ioctls(monkeypatch)
    opened(path, dtr=policy)
    assert [one for one in done if isinstance(one, tuple) and one[1] == DTR] == lines
    assert bool(termios.tcgetattr(far_end)[2] & termios.HUPCL) == hupcl


# names and owners


def test_absent_busy_forbidden_and_no_serial_port_are_told_apart(tmp_path, monkeypatch):
    (tmp_path / "usb-Arduino-if00").touch()
    monkeypatch.setattr(serial_link, "BY_ID", tmp_path)
    with pytest.raises(LinkError, match=r"absent: no such port; is the box plugged in.*are there: .*/usb-Arduino-if00"):
        opened("/dev/no-such-port")
    for path in ("/dev/null", tmp_path, tmp_path / "usb-Arduino-if00"):
        with pytest.raises(LinkError, match=f"serial://{path}: not a serial port"):
            opened(path)


def test_forbidden_says_which_group(pty, monkeypatch):
    _, path = pty
    os.chmod(path, 0o660)
    group = grp.getgrgid(os.stat(path).st_gid).gr_name

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch, pytest.raises(LinkError, match="permission denied") as forbidden:
        patch.setattr("serial.serialposix.os.open", refuse)
        opened(path)
    assert f"belongs to the group {group}: sudo usermod -aG {group} " in str(forbidden.value)
    os.chmod(path, 0o600)
    with monkeypatch.context() as patch, pytest.raises(LinkError, match=r"only root may open it: a udev rule"):
        patch.setattr("serial.serialposix.os.open", refuse)
        opened(path)


def test_busy_here():
    async def run():
        with PtyPort() as port:
            first, second = (make_link(parse_address(port.address)) for _ in range(2))
            await first.open(10)
            with pytest.raises(LinkError, match="busy: this program has it open already: one port, one device"):
                await second.open(10)
            await first.close()
            await second.open(10)
            await second.close()

    asyncio.run(run())


def test_busy_elsewhere_names_the_other_and_locks_it_out(pty):
    _, path = pty
    code = (
        "import asyncio, sys\n"
        "from drivers.link import make_link, parse_address\n"
        "async def main():\n"
        "    link = make_link(parse_address('serial://' + sys.argv[1]))\n"
        "    try:\n"
        "        await link.open(10)\n"
        "        print('open', flush=True)\n"
        "        await asyncio.to_thread(sys.stdin.readline)\n"
        "        await link.close()\n"
        "    except Exception as error:\n"
        "        print(error, flush=True)\n"
        "asyncio.run(main())\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    def other():
        return subprocess.Popen(
            [sys.executable, "-c", code, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    with other() as first:
        assert first.stdout.readline() == "open\n"
        with other() as second:
            assert f"busy: process {first.pid} (" in second.stdout.readline()
        with pytest.raises(LinkError, match=rf"busy: process {first.pid} \(.*\) has it open: end it first"):
            opened(path)
        assert locked_out(path)
        first.communicate("\n", timeout=30)
    opened(path)


def locked_out(path):
    """Say whether a program that knows nothing of flock is kept out too; root never is, but sees the lock."""
    try:
        near_end = os.open(path, os.O_RDWR | os.O_NOCTTY)
    except OSError as error:
        return error.errno == errno.EBUSY
    exclusive = fcntl.ioctl(near_end, 0x80045440, bytes(4))  # TIOCGEXCL, tty_ioctl(4)
    os.close(near_end)
    return os.geteuid() == 0 and int.from_bytes(exclusive, sys.byteorder) == 1


# what happens to cables


def test_what_came_before_it_was_opened_is_not_read(pty):
    far_end, path = pty
    os.write(far_end, b"boot loader rubbish")

    async def run():
        link = make_link(Address("serial", path=path))
        await link.open(10)
        os.write(far_end, b"new")
        assert await link.read(10) == b"new"
        await link.close()

    asyncio.run(run())


def test_what_was_written_before_close_arrives(pty):
    far_end, path = pty

    async def run():
        link = make_link(Address("serial", path=path))
        await link.open(10)
        await link.write(b"OFF\n", 10)
        await link.close()

    asyncio.run(run())
    assert os.read(far_end, 9) == b"OFF\n"


@pytest.mark.alone
def test_pulled_and_put_in_a_hundred_times_under_changing_numbers():
    """Each time it is found again, nothing is left behind, and the event loop does not notice."""

    async def run():
        numbers = set()
        others = []
        with PtyPort() as port:

            async def box():
                while True:
                    port.write((await port.read()).upper())

            answering = asyncio.create_task(box())
            link = make_link(parse_address(port.address + "?baud=115200"))
            for again in range(100):
                while True:
                    try:
                        await link.open(10)
                        break
                    except LinkError:
                        await asyncio.sleep(0.005)
                numbers.add(os.readlink(port.path))
                assert await link.exchange(b"are you there %d\n" % again, line, 10) == b"ARE YOU THERE %d\n" % again
                reading = asyncio.create_task(link.read(10))
                for _ in range(again % 3):
                    await asyncio.sleep(0)
                port.unplug()
                with pytest.raises(LinkError, match="the port is gone"):
                    await reading
                with pytest.raises(LinkError, match="absent"):
                    await link.open(10)
                if again == 99:
                    break
                if again % 30 == 0:  # another box takes the number
                    others += os.openpty()
                asyncio.get_running_loop().call_later(0.005 * (again % 3), port.replug)
            answering.cancel()
            for fd in others:
                os.close(fd)
        assert len(numbers) > 2

    async def watched():
        async with LoopLag() as lag:
            await run()
        return lag.longest

    before = sorted(os.listdir("/proc/self/fd")), threading.active_count()
    longest = asyncio.run(watched())

    def left():
        return sorted(os.listdir("/proc/self/fd")) == before[0] and threading.active_count() <= before[1]

    deadline = time.monotonic() + 10
    while not left() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert left(), (before, sorted(os.listdir("/proc/self/fd")), threading.enumerate())
    assert longest < 0.05


@pytest.mark.alone
@pytest.mark.parametrize("how", ["deadline", "cancelled"])
def test_an_open_that_hangs_holds_nobody_up_and_leaves_nothing_behind(pty, monkeypatch, how):
    _, path = pty
    may_go_on = threading.Event()
    real = os.open

    def slow_open(name, *rest, **more):
        if name == path:
            may_go_on.wait(30)
        return real(name, *rest, **more)

    async def run():
        link = make_link(Address("serial", path=path))
        before = sorted(os.listdir("/proc/self/fd"))
        async with LoopLag() as lag:
            monkeypatch.setattr("serial.serialposix.os.open", slow_open)
            opening = asyncio.create_task(link.open(0.2 if how == "deadline" else 30))
            if how == "cancelled":
                await asyncio.sleep(0.1)
                opening.cancel()
            with pytest.raises((LinkTimeout, asyncio.CancelledError)) as ended:
                await opening
            if how == "deadline":
                assert "could not be opened within 0.2 s: the driver or the USB device hangs" in str(ended.value)
            await asyncio.wait_for(link.close(), 10)
            may_go_on.set()
            await link.open(10)  # waits until the late one is closed, or it would find the port busy
            await link.close()
        assert lag.longest < 0.05
        await until(lambda: sorted(os.listdir("/proc/self/fd")) == before)

    asyncio.run(run())


@pytest.mark.alone
def test_a_close_that_hangs_holds_nobody_up(pty, monkeypatch):
    _, path = pty
    may_go_on = threading.Event()
    real = os.close

    async def run():
        link = make_link(Address("serial", path=path))
        await link.open(10)
        held = link._fd
        monkeypatch.setattr(os, "close", lambda fd: (may_go_on.wait(30) if fd == held else None, real(fd)))
        async with LoopLag() as lag:
            began = time.monotonic()
            await link.close()
            assert time.monotonic() - began < 10
            with pytest.raises(LinkTimeout):
                await link.open(0.1)
            may_go_on.set()
            await link.open(10)
            await link.close()
        assert lag.longest < 0.05

    asyncio.run(run())
