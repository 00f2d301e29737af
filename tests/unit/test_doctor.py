"""`doctor` of devices and archiver: each finding provoked by real files, ports and servers, told with its cure."""

import contextlib
import os
import pty
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from archiver.__main__ import main as archiver
from archiver.sinks.folder import Folder
from drivers.link import parse_address
from drivers.serial_link import why_shut
from iocs import host
from iocs.__main__ import main as iocs
from iocs.state import open_state
from tests.processes import Process, ca_environment, free_port, random_prefix, write_site


@pytest.fixture(autouse=True)
def sound(monkeypatch):
    """A host without fault: the clock in step, the environment that of a free port."""
    monkeypatch.setattr(host.clock, "__defaults__", (lambda: 0,))
    environment = ca_environment(free_port())
    for name, value in environment.items():
        if name.startswith("EPICS_"):
            monkeypatch.setenv(name, value)


@pytest.fixture
def examine(capsys):
    """Run a doctor; give its exit code and what it said."""

    def run(program, site) -> tuple[int, str]:
        code = program(["doctor", str(site)])
        told = capsys.readouterr()
        return code, told.out + told.err

    return run


def gas(folder: Path, link: str, rest: str = "") -> Path:
    return write_site(folder, random_prefix(), f'[[device]]\nname = "GAS"\ntype = "gas"\nlink = "{link}"\n', rest)


@pytest.fixture
def port():
    """A pty that stands for a serial port."""
    ours, theirs = pty.openpty()
    yield os.ttyname(theirs)
    os.close(ours)
    os.close(theirs)


@pytest.fixture
def site(tmp_path, port):
    """A site in which nothing is amiss."""
    return gas(tmp_path, f"serial://{port}", "[serve]\nport = 0")


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    """Be a user without rights, where the tests are root's."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def listening(port: int = 0) -> socket.socket:
    return socket.create_server(("127.0.0.1", port))


@pytest.mark.parametrize("program", [iocs, archiver])
def test_all_is_well_and_nothing_is_made(examine, site, program, tmp_path):
    code, text = examine(program, site)
    assert (code, text.splitlines()[-1]) == (0, "all is well"), text
    if program is archiver:
        assert [path.name for path in tmp_path.iterdir()] == ["site.toml"]


@pytest.mark.parametrize("program", [iocs, archiver])
def test_a_bad_site_file(examine, tmp_path, program):
    assert examine(program, write_site(tmp_path, "no colon", ""))[0] == 2


@pytest.mark.parametrize("program", [iocs, archiver])
def test_clock_and_environment(examine, site, program, monkeypatch):
    monkeypatch.setattr(host.clock, "__defaults__", (lambda: host.TIME_ERROR,))
    monkeypatch.setenv("EPICS_CAS_SERVER_PORT", str(free_port()))
    monkeypatch.setenv("EPICS_CA_ADDR_LIST", "no-such-host.invalid")
    monkeypatch.setenv("EPICS_CA_MAX_ARRAY_BYTES", "16000")
    code, text = examine(program, site)
    assert code == 1 and "3 to mend" in text
    assert "clock: TO MEND: the clock is not kept in step" in text
    assert "host 'no-such-host.invalid' has no address" in text and "give both the same" in text
    monkeypatch.setenv("EPICS_CA_SERVER_PORT", "abc")
    assert "environment: TO MEND: the EPICS variables of the environment cannot be read" in examine(program, site)[1]


def test_the_kernel_is_asked():
    assert host.kernel_clock() in range(6)


def test_a_clock_that_cannot_be_asked_is_told_so():
    def refused() -> int:
        raise PermissionError(1, "Operation not permitted")

    assert "cannot be told: Operation not permitted" in host.clock(refused).text


def test_a_state_of_another_version(examine, site, tmp_path):
    (tmp_path / "state").mkdir()
    for name in ("GAS", "archiver"):
        (tmp_path / f"state/{name}.json").write_text('{"format": 99, "data": {}}')
    for program in (iocs, archiver):
        code, text = examine(program, site)
        assert code == 1 and "has format 99" in text and "use the version that wrote it" in text


def test_a_folder_that_is_none(examine, site, tmp_path):
    (tmp_path / "state").write_text("")
    for program in (iocs, archiver):
        code, text = examine(program, site)
        assert code == 1 and f"{tmp_path / 'state'} is not a folder; move it away" in text


def test_a_folder_without_room_or_right(tmp_path):
    assert "make room" in host.writable(tmp_path, "state", 1e15).text
    tmp_path.chmod(0o500)
    try:
        with nobody():
            found = host.writable(tmp_path / "state", "state", 1)
    finally:
        tmp_path.chmod(0o700)
    assert not found.good and "cannot be written by user" in found.text and "chown" in found.text


def test_serial_ports(examine, site, port, tmp_path):
    os.chmod(port, 0)
    with nobody():
        assert "permission denied" in why_shut(parse_address(f"serial://{port}"))
    code, text = examine(iocs, gas(tmp_path, "serial:///dev/no-such-port"))
    assert code == 1 and "GAS: TO MEND: serial:///dev/no-such-port?baud=115200: absent" in text
    code, text = examine(iocs, gas(tmp_path, f"serial://{tmp_path / 'site.toml'}"))
    assert code == 1 and "not a serial port" in text


def test_a_box_that_is_not_there(examine, tmp_path):
    table = f'[[device]]\nname = "PMU"\ntype = "pmu"\nlink = "tcp://127.0.0.1:{free_port()}"\nidcode = 1\n'
    code, text = examine(iocs, write_site(tmp_path, random_prefix(), table))
    assert code == 1 and "PMU: TO MEND:" in text and "nothing listens on that port" in text


def test_a_box_and_a_port_that_our_own_ioc_holds(examine, site, tmp_path):
    with open_state(tmp_path / "state", "GAS"), listening(int(os.environ["EPICS_CAS_SERVER_PORT"])):
        code, text = examine(iocs, site)
    assert code == 0 and f"is held by process {os.getpid()}, this site's own IOC of GAS" in text
    assert f"GAS: it is run by process {os.getpid()}" in text


def test_ports_of_others(examine, site):
    number = int(os.environ["EPICS_CAS_SERVER_PORT"])
    with listening(number), socket.socket(type=socket.SOCK_DGRAM) as deaf:
        deaf.bind(("0.0.0.0", number))
        code, text = examine(iocs, site)
    assert code == 1 and "another one is taken, and clients find it" in text
    assert f"ports: TO MEND: UDP port {number}" in text and "end the program that has it alone" in text


def test_an_interface_that_this_host_has_not(examine, tmp_path, port):
    code, text = examine(iocs, gas(tmp_path, f"serial://{port}", '[access]\ninterfaces = ["192.0.2.7"]'))
    assert code == 1 and "[access], key interfaces, is to be an address of this host" in text


def test_the_port_of_the_page(examine, tmp_path, port):
    with listening() as taken:
        number = taken.getsockname()[1]
        site = gas(tmp_path, f"serial://{port}", f"[serve]\nport = {number}")
        code, text = examine(archiver, site)
    assert code == 1 and f"held by process {os.getpid()}" in text and "choose another port under [serve]" in text
    with Process("archiver", "serve", str(site), environment=dict(os.environ)) as page:
        page.line("page of test")
        code, text = examine(archiver, site)
    assert code == 0 and f"held by process {page.popen.pid}, this site's own page" in text


def test_the_archivers_files(examine, site, tmp_path):
    spool = tmp_path / "state/spool/csv"
    spool.mkdir(parents=True)
    (spool / "acknowledged.json").write_text("[]")
    folder = Folder(tmp_path / "data")
    folder.claim()
    try:
        code, text = examine(archiver, site)
        assert code == 1 and "2 to mend" in text
        assert "spool of csv: TO MEND" in text and "is not what the archiver writes" in text
        assert f"is written by another archiver (pid {os.getpid()} on " in text
        (spool / "acknowledged.json").unlink()
        with open_state(tmp_path / "state", "archiver"):
            code, text = examine(archiver, site)
        assert code == 0 and f"archiver: it runs as process {os.getpid()}" in text
    finally:
        folder.release()


def test_nowhere_to_write_and_nobody_to_wake(examine, tmp_path, port):
    rest = '[serve]\nport = 0\n[archive.csv]\nenabled = false\n[notify]\ncommand = ["no-such-program"]'
    code, text = examine(archiver, gas(tmp_path, f"serial://{port}", rest))
    assert code == 1 and "there is no store" in text and "there is no program 'no-such-program'" in text


def test_a_port_of_roots():
    everybodys = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 1
    with nobody():
        found = host.port("127.0.0.1", 1, "key", lambda process: "")
    assert found.good is everybodys and ("choose another" in found.text) is not everybodys


@contextlib.contextmanager
def influx():
    """An HTTP server that takes what has the right password for a database that it has; gives its url and its log."""
    log: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *words: object) -> None:
            pass

        def do_POST(self) -> None:
            log.append(self.rfile.read(int(self.headers["Content-Length"])))
            well = self.headers.get("Authorization") == "Basic bWU6cmlnaHQ="
            self.send_response((204 if "db=lab&" in self.path else 404) if well else 401)
            self.end_headers()

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", log
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_influx(examine, tmp_path, port, monkeypatch):
    def site(url: str, bucket: str = "lab") -> Path:
        table = f'[archive.influx]\nversion = 1\nurl = "{url}"\nbucket = "{bucket}"\ntoken_env = "TOKEN"\n'
        return gas(tmp_path, f"serial://{port}", f"[serve]\nport = 0\n{table}")

    with influx() as (url, log):
        assert "TOKEN is not set in the environment" in examine(archiver, site(url))[1]
        monkeypatch.setenv("TOKEN", "me:right")
        code, text = examine(archiver, site(url))
        assert code == 0 and "the token may write to lab" in text and "right" not in text
        assert "there is no such database or bucket" in examine(archiver, site(url, "other"))[1]
        monkeypatch.setenv("TOKEN", "me:wrong")
        code, text = examine(archiver, site(url))
        assert code == 1 and "the token is wrong or missing" in text and "me:wrong" not in text
        assert set(log) == {b""}
    code, text = examine(archiver, site(url))
    assert code == 1 and "is InfluxDB running there" in text
