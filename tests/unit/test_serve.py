"""What is answered over HTTP, by the rules of those that read it: Phoebus' reader, an appliance's clients."""

import gzip
import http.client
import json
import signal
import socket
import sys
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from archiver.history import History
from archiver.serve import server
from archiver.serve.answers import Answers, Refused
from archiver.serve.live import Live
from archiver.serve.seeding import seed
from archiver.serve.server import Server
from archiver.serve.watching import Watching
from archiver.serve.websocket import Absent, WebSocket
from archiver.sinks.csv_files import CsvFiles
from iocs.archive_tables import ServeTable
from iocs.signals import Kind, Row, Signal
from tests.processes import Process, wait_for
from tests.unit import test_history
from tests.unit.test_history import HOUR, T, site, written

S = 10**9


def strict(sample: dict[str, Any]) -> None:
    """The rules of Phoebus' reader, by its own source: what it does not know it refuses."""
    known = {"metaData", "minimum", "maximum", "quality", "severity", "status", "time", "type", "value"}
    assert set(sample) <= known and {"quality", "severity", "status", "time", "type", "value"} <= set(sample)
    assert set(sample["severity"]) == {"level", "hasValue"}
    assert sample["severity"]["level"] in ("OK", "MINOR", "MAJOR", "INVALID")
    assert list(sample).index("type") < list(sample).index("value") and isinstance(sample["time"], int)
    meta, kind = sample.get("metaData", {}), sample["type"]
    limits = {"displayLow", "displayHigh", "warnLow", "warnHigh", "alarmLow", "alarmHigh"}
    match kind:
        case "double" | "minMaxDouble":
            assert set(meta) == {"type", "precision", "units", *limits} and meta["type"] == "numeric"
            for number in (*sample["value"], *(meta[limit] for limit in limits)):
                assert isinstance(number, int | float) or number in ("NaN", "Infinity", "-Infinity")
        case "enum":
            assert set(meta) == {"type", "states"} and all(isinstance(value, int) for value in sample["value"])
        case "string":
            assert not meta and all(isinstance(value, str) for value in sample["value"])
        case _:
            raise AssertionError(kind)
    assert ({"minimum", "maximum"} <= set(sample)) == (kind == "minMaxDouble")


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Answers:
    mode = Signal("MODE", kind=Kind.ENUM, states=("Off", "On"), archive=test_history.MONITOR)
    monkeypatch.setattr(test_history, "SIGNALS", (*test_history.SIGNALS, mode))
    here = site(tmp_path)
    written(here)
    sink = CsvFiles(here.archive.csv)
    source = test_history.Source("LAB:HV:MODE", "HV", "MODE", "HV:MODE")
    sink.write(sink.encode(test_history.Batch(T, [(source, test_history.reading(1, T + 5))])).data)
    sink.close()
    return Answers(History.of_site(here), "lab", ServeTable.model_validate({"most_samples": 500, "most_days": 30}))


def samples(answers: Answers, name: str, start: int, end: int, **words: str) -> list[dict[str, Any]]:
    path = f"/archive/1/samples/{quote(name, safe='')}"
    found = answers.answer(path, {"start": str(start), "end": str(end), **words})
    for sample in found:
        strict(json.loads(json.dumps(sample, allow_nan=False)))
    return found


def test_the_list_and_the_names(answers: Answers) -> None:
    (archive,) = answers.answer("/archive/", {})
    assert set(archive) == {"key", "name", "description"} and archive["key"] == 1
    names = ["LAB:HV:CH0:IMON", "LAB:HV:CH0:VMON", "LAB:HV:MODE"]
    assert answers.answer("/archive/1/channels-by-pattern/*", {}) == names
    assert answers.answer("/archive/1/channels-by-pattern/LAB%3AHV%3ACH%3F%3A*", {}) == names[:2]
    assert answers.answer("/mgmt/bpl/getAllPVs", {"pv": "*MODE"}) == names[2:]


def test_samples_of_each_kind(answers: Answers) -> None:
    found = samples(answers, "LAB:HV:CH0:VMON", T, T + 4 * HOUR)
    assert len(found) == 182 and found[1]["value"] == [1 / 7] and found[1]["metaData"]["units"] == "V"
    assert found[-1]["severity"] == {"level": "INVALID", "hasValue": False} and found[-1]["value"] == ["NaN"]
    assert [sample["value"] for sample in found if sample["type"] == "string"] == [["a text,\nof \\two lines"]]
    (mode,) = samples(answers, "LAB:HV:MODE", T, T + HOUR)
    assert (mode["type"], mode["value"], mode["metaData"]["states"]) == ("enum", [1], ["Off", "On"])


def test_bins_where_there_is_more_than_is_asked_for(answers: Answers) -> None:
    found = samples(answers, "LAB:HV:CH0:IMON", T, T + 3 * HOUR - 1, count="10")
    assert len(found) == 10 and {sample["type"] for sample in found} == {"minMaxDouble"}
    first = found[0]
    assert (first["minimum"], first["maximum"]) == (0.0, 17.5) and first["value"] == [8.75]
    assert all(T <= sample["time"] <= T + 3 * HOUR for sample in found)
    found = samples(answers, "LAB:HV:CH0:IMON", T + HOUR + 1, T + 2 * HOUR, count="4")
    assert [sample["type"] for sample in found] == ["double", *["minMaxDouble"] * 3]
    assert found[0]["time"] <= T + HOUR < found[1]["time"]  # what held at the begin has its own time


def test_the_appliance_answers(answers: Answers) -> None:
    words = {"from": "2026-09-21T16:58:00Z", "to": "2026-09-21T18:00:00Z"}
    (answer,) = answers.answer("/retrieval/data/getData.json", {"pv": "LAB:HV:CH0:VMON", **words})
    assert answer["meta"] == {"name": "LAB:HV:CH0:VMON", "EGU": "V", "PREC": "3"}
    assert answer["data"][-1] == {"secs": T // S + 179 * 60, "nanos": 0, "val": 179 / 7, "severity": 0, "status": 0}
    (answer,) = answers.answer("/retrieval/data/getData.json", {"pv": "mean_60(LAB:HV:CH0:IMON)", **words})
    assert [point["val"] for point in answer["data"]] == [178.25, 179.25]


@pytest.mark.parametrize(
    ("path", "words", "status", "text"),
    [
        ("/", {}, 404, "getData.json"),
        ("/archive/2/samples/X", {"start": "1", "end": "2"}, 404, "one archive"),
        ("/archive/1/samples/NONE", {"start": "1", "end": "2"}, 404, "nothing is recorded of NONE"),
        ("/archive/1/samples/X", {"start": "yesterday", "end": "2"}, 400, "start = 'yesterday'"),
        ("/archive/1/samples/X", {"start": "3", "end": "2"}, 400, "before"),
        ("/archive/1/samples/X", {"start": "0", "end": str(T)}, 400, "at most 30"),
        ("/retrieval/data/getData.json", {"pv": "jitter_5(X)"}, 400, "no operator"),
        ("/retrieval/data/getData.json", {"pv": f"mean_{10**20}(LAB:HV:CH0:VMON)"}, 400, "no operator"),
        ("/retrieval/data/getData.json", {"pv": "LAB:HV:CH0:VMON", "from": "x"}, 400, "is not a time"),
    ],
)
def test_what_is_not_answered_says_why(answers: Answers, path, words, status, text) -> None:
    with pytest.raises(Refused) as told:
        answers.answer(path, words)
    assert told.value.status == status and text in str(told.value)


def test_a_viewer_that_does_not_read_is_let_go_and_the_others_are_told_on(tmp_path: Path) -> None:
    server = Server(("127.0.0.1", 0), site(tmp_path))
    server.watching.start()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()

    def viewer() -> socket.socket:
        client = socket.create_connection(server.server_address[:2], 20)
        client.sendall(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return client

    viewers = server.live._viewers
    try:
        with viewer() as mute, viewer() as reader:
            wait_for(lambda: len(viewers) == 2, "two viewers")
            sent, received = 0, 0

            def read() -> None:
                nonlocal received
                with suppress(ConnectionResetError):  # what is told on after the end
                    while data := reader.recv(1 << 20):
                        received += len(data)

            reading = threading.Thread(target=read)
            reading.start()

            def flood() -> bool:
                nonlocal sent
                if sent - received < 1_000_000:  # no faster than the one reads who reads
                    long = {"now": 0, "values": [[0, "x" * 100_000, 0, "", 0]]}
                    server.watching.call(server.live._send, "values", long)
                    sent += 100_000
                return len(viewers) == 1

            wait_for(flood, "end of the one that does not read")
            assert mute.recv(100).startswith(b"HTTP/1.1 200")
            server.watching.call(server.live._send, "values", {"now": 0, "values": []})
            assert len(viewers) == 1
            reader.shutdown(socket.SHUT_RDWR)
            reading.join()
            wait_for(
                lambda: server.watching.call(server.live._send, "values", {"now": 0}) or not viewers, "end of the other"
            )
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        server.watching.stop()


def test_sparklines_begin_with_what_the_archive_has(tmp_path: Path) -> None:
    here, now = site(tmp_path), time.time_ns()
    sink = CsvFiles(here.archive.csv)
    layout = Row("ROW", (test_history.SIGNALS[1],))
    half_an_hour_ago = now - 1800 * S
    volts = [(test_history.VOLT, test_history.reading(7.5, half_an_hour_ago + n * S)) for n in (0, 1)]
    lost = (test_history.VOLT, test_history.Mark(test_history.Event.DISCONNECTED, half_an_hour_ago + 600 * S))
    row = test_history.RowRecord(test_history.ROW, layout, half_an_hour_ago, [0.25], 1)
    sink.write(sink.encode(test_history.Batch(now, [*volts, lost], [row])).data)
    sink.close()
    watching = Watching()
    watching.start()
    try:
        live = Live(here, watching)
        watching.call(live.start)
        seed(here, live, watching)
        told = watching.call(live.sparks, "HV")
        begin = half_an_hour_ago // S // 30 * 30
        assert told["sparks"][0][0] == [begin, 7.5, 7.5] and told["sparks"][0][-1][1] is None
        assert told["sparks"][1] == [[begin, 0.25, 0.25]]
        with pytest.raises(LookupError, match="there is no device 'X'; there are HV"):
            watching.call(live.sparks, "X")
    finally:
        watching.stop()
    with pytest.raises(ConnectionAbortedError):
        watching.call(live.sparks, "HV")


def test_without_the_library_web_sockets_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "websockets.server", None)
    with socket.socket() as unused, pytest.raises(Absent, match=r"pip install 'countinghouse\[web\]'"):
        WebSocket(unused, "/pvws/pv", {})


def raw(port: int, request: str) -> bytes:
    """Send a request as it stands, and give all that comes until the server closes."""
    with socket.create_connection(("127.0.0.1", port), 20) as client:
        client.sendall(request.encode())
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(65536), b""))


def answered(get) -> bool:
    with suppress(OSError):
        return get("/archive/")[0] == 200
    return False


def test_over_http(tmp_path: Path) -> None:
    here = site(tmp_path, more="[serve]\nport = 0\n")
    written(here)
    with Process("archiver", "serve", str(here.path)) as process:
        line = process.line("archive of lab on http://127.0.0.1:")
        port = int(line.split("http://127.0.0.1:")[1].split(":")[0])

        def get(path: str, **headers: str) -> tuple[int, Any, bool]:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            body, packed = answer.read(), answer.headers.get("Content-Encoding") == "gzip"
            connection.close()
            return answer.status, json.loads(gzip.decompress(body) if packed else body), packed

        assert get("/archive/")[0] == 200
        path = f"/archive/1/samples/LAB%3AHV%3ACH0%3AVMON?start={T}&end={T + HOUR}"
        status, found, packed = get(path, **{"Accept-Encoding": "gzip"})
        assert (status, len(found), packed) == (200, 61, True)
        assert get("/archive/1/samples/NONE?start=1&end=2")[0] == 404
        assert get("/nothing")[0] == get("/live/curve")[0] == get("/live/sparks")[0] == 404
        assert get("x://[/")[0] == 400
        one = "GET /archive/ HTTP/1.1\r\nHost: localhost\r\n"
        assert raw(port, f"{one}Host: evil.example.org\r\n\r\n").startswith(b"HTTP/1.1 400")
        assert raw(port, f"{one}Content-Length: {len(one) + 2}\r\n\r\n{one}\r\n").count(b"HTTP/1.1") == 1
        with ExitStack() as idle:
            for _ in range(server.MOST_CONNECTIONS + 50):
                idle.enter_context(socket.create_connection(("127.0.0.1", port)))
            wait_for(lambda: not answered(get), "the limit of connections")
        wait_for(lambda: answered(get), "a place that is free again")
        assert "Traceback" not in process.log()
        assert process.stop(signal.SIGTERM) == 0
