"""The pvws protocol as its own client reads it, who may ask at all, and what becomes of a client that does not read."""

import base64
import json
import threading

import numpy as np
import pytest

from archiver.serve import hosts, pvws
from archiver.serve.mailbox import Mailbox
from iocs.ca.metadata import Metadata
from iocs.signals import Kind, Reading, Severity, Status

FLOAT = Metadata(Kind.FLOAT, 1, True, "V", 1, (0.0, 3000.0), alarms=(float("nan"), float("nan"), 2.0, 5.0))
MODE = Metadata(Kind.ENUM, 1, True, states=("Off", "On"))


def reading(value, severity=Severity.NO_ALARM, connected=True):
    return Reading(value, 1_795_000_000_123_456_789, severity, Status.NO_ALARM, connected, False)


def test_the_first_update_says_what_the_pv_is_and_every_pv_is_read_only() -> None:
    assert pvws.first("X", FLOAT) == {
        "type": "update",
        "pv": "X",
        "vtype": "VDouble",
        "readonly": True,
        "units": "V",
        "precision": 1,
        "min": 0.0,
        "max": 3000.0,
        "warn_high": 2.0,
        "alarm_high": 5.0,
    }
    assert pvws.first("X", MODE)["labels"] == ["Off", "On"] and pvws.first("X", MODE)["readonly"] is True
    assert pvws.first("X", Metadata(Kind.INT, 8, False))["vtype"] == "VIntArray"
    assert pvws.first("X", Metadata(Kind.TEXT, 500, False))["vtype"] == "VString"


@pytest.mark.parametrize(
    ("value", "metadata", "told"),
    [
        (1.5, FLOAT, {"value": 1.5}),
        (float("nan"), FLOAT, {"value": "NaN"}),
        (float("-inf"), FLOAT, {"value": "NaN"}),
        (1, MODE, {"value": 1, "text": "On"}),
        (7, MODE, {"value": 7, "text": "7"}),
        ("a text", FLOAT, {"text": "a text"}),
    ],
)
def test_values(value, metadata, told) -> None:
    found = pvws.update("X", reading(value, Severity.MINOR), metadata)
    stamp = {"seconds": 1_795_000_000, "nanos": 123_456_789}
    assert found == {"type": "update", "pv": "X", "severity": "MINOR", **stamp, **told}
    json.dumps(found, allow_nan=False)


def test_arrays_are_little_endian_whatever_they_came_as() -> None:
    values = np.array([1.5, -2.0, 1e300], ">f8")
    found = pvws.update("X", reading(values), Metadata(Kind.FLOAT, 3, False))
    assert np.frombuffer(base64.b64decode(found["b64dbl"]), "<f8").tolist() == [1.5, -2.0, 1e300]
    found = pvws.update("X", reading(np.array([1, -70000], "i4")), Metadata(Kind.INT, 2, False))
    assert np.frombuffer(base64.b64decode(found["b64int"]), "<i4").tolist() == [1, -70000]


def test_a_pv_that_is_lost_is_undefined_and_keeps_no_value() -> None:
    found = pvws.update("X", reading(3.0, Severity.INVALID, connected=False), FLOAT)
    assert found == {"type": "update", "pv": "X", "severity": "UNDEFINED"}


def test_requests() -> None:
    assert pvws.parse('{"type":"subscribe","pvs":["A","B","A"]}') == pvws.Request("subscribe", ("A", "B"))
    assert pvws.parse(b'{"type":"monitor","pvs":["A"]}').type == "subscribe"
    assert pvws.channel_access_name("ca://LAB:X") == pvws.channel_access_name("LAB:X") == "LAB:X"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nonsense", "not JSON"),
        ("[1]", "object"),
        ("[" * 200_000, "not JSON"),
        ('{"type":"write","pv":"LAB:X","value":1}', "LAB:X is not written"),
        ('{"type":"put"}', "no message 'put'"),
        ('{"type":"subscribe"}', "list of names"),
        ('{"type":"subscribe","pvs":[1]}', "list of names"),
        (json.dumps({"type": "subscribe", "pvs": ["X"] * 5001}), "at most 5000"),
    ],
)
def test_what_is_not_done_is_said(text, reason) -> None:
    with pytest.raises(ValueError, match=reason):
        pvws.parse(text)


@pytest.mark.parametrize("name", ["pva://X", "loc://X(1)", "sim://sine", "=1+1"])
def test_only_channel_access_is_spoken(name) -> None:
    with pytest.raises(ValueError, match=r"computed|only Channel Access"):
        pvws.channel_access_name(name)


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("127.0.0.1:8090", True),
        ("127.0.0.1", True),
        ("[::1]:8090", True),
        ("localhost:8090", True),
        ("lab.example.org", True),
        ("LAB.example.org:1", True),
        ("evil.example.org", False),
        ("localhost.evil.org", False),
        ("127.0.0.1.evil.org", False),
        ("", False),
        ("[::1", False),
        ("user@evil.org", False),
    ],
)
def test_a_host_header_must_mean_us(host, ours) -> None:
    names = {"localhost", "lab.example.org"}
    assert hosts.is_ours(host, names) is ours
    assert hosts.may_connect(f"http://{host}", "127.0.0.1", names) is ours


@pytest.mark.parametrize(
    ("origin", "may"),
    [
        (None, True),
        ("null", False),
        ("file://", False),
        ("http://localhost:5173", True),
        ("http://10.0.0.5:8090", True),  # the page that this server itself gave
        ("http://10.0.0.6", False),
        ("http://203.0.113.5", False),
        ("https://lab.example.org", True),
        ("http://evil.example.org", False),
    ],
)
def test_only_pages_of_this_host_may_open_a_web_socket(origin, may) -> None:
    assert hosts.may_connect(origin, "10.0.0.5:8090", {"localhost", "lab.example.org"}) is may


def test_a_client_that_does_not_read_is_let_go_and_nobody_waits_for_it() -> None:
    let_go = []
    mailbox = Mailbox(lambda: let_go.append(1), most=100)
    mailbox.put(b"x" * 500)  # one message alone may be long
    assert mailbox.take() == b"x" * 500
    for _ in range(30):
        mailbox.put(b"x" * 10)
    assert let_go == [1] and mailbox.slow and mailbox.take() is None


def test_what_waits_at_the_end_is_still_taken() -> None:
    mailbox, taken = Mailbox(lambda: None), []
    reader = threading.Thread(target=lambda: [taken.append(message) for message in iter(mailbox.take, None)])
    reader.start()
    mailbox.put(b"1")
    mailbox.put(b"2")
    mailbox.close()
    mailbox.put(b"3")
    reader.join(10)
    assert taken == [b"1", b"2"]
