"""What the server uses of caproto's inside: each name is looked up, so that a caproto without it is noticed here."""

import asyncio
import inspect

import caproto as ca
import pytest
from caproto import _utils
from caproto.asyncio import server

from iocs.ca.server import context

CONTEXT = (
    "_bind_tcp_sockets_with_consistent_port_number",
    "_create_broadcaster_transport",
    "broadcast_beacon_loop",
    "broadcaster_queue_loop",
    "broadcaster_receive_loop",
    "run",
    "server_accept_loop",
    "subscription_queue_loop",
)


def test_the_installed_caproto_is_a_tested_one():
    assert ca.__version__ in context.TESTED


@pytest.mark.parametrize("name", CONTEXT)
def test_context_has_what_is_overridden_and_calls_it(name):
    assert callable(getattr(server.Context, name))
    if name != "run":
        assert f"self.{name}(" in inspect.getsource(server.Context.run)


def test_context_has_the_attributes_that_are_used():
    async def make():
        return server.Context({}, ["127.0.0.1"])

    it = asyncio.run(make())
    for name in ("circuits", "server_tasks", "udp_socks", "tcp_sockets", "interfaces", "port", "ca_server_port"):
        assert hasattr(it, name), name
    assert {"EPICS_CAS_BEACON_PORT", "EPICS_CAS_BEACON_PERIOD", "EPICS_CAS_BEACON_ADDR_LIST"} <= set(it.environ)
    assert {"EPICS_CAS_AUTO_BEACON_ADDR_LIST", "EPICS_CA_SERVER_PORT"} <= set(it.environ)


def test_names_outside_classes():
    assert callable(server._create_udp_socket)
    assert callable(server._TaskHandler().cancel_all)
    assert callable(server._TaskHandler().create)
    assert _utils.get_address_and_port_from_string("10.0.0.1", 5065) == ("10.0.0.1", 5065)
    assert "startup_hook" in inspect.signature(server.Context.run).parameters
    assert issubclass(server.VirtualCircuit, object)


def test_parsers_and_status_codes():
    record = ca.parse_record_field("REC.EGU$")
    assert (record.record, record.field) == ("REC", "EGU")
    assert ca.RecordModifiers.long_string in record.modifiers
    parsed = ca.parse_channel_filter('{"arr":{"s":1},"dbnd":{"abs":1},"ts":{}}')
    assert (parsed.arr.s, parsed.arr.e, parsed.arr.i, parsed.dbnd.m, parsed.ts, parsed.sync) == (
        1,
        -1,
        1,
        "abs",
        True,
        None,
    )
    codes = {"NORMAL": 1, "TOLARGE": 72, "GETFAIL": 152, "PUTFAIL": 160, "BADCOUNT": 176, "ALLOCMEM": 48}
    codes |= {"NORDACCESS": 368, "NOWTACCESS": 376}
    assert {name: getattr(ca.CAStatus, f"ECA_{name}").value.code_with_severity for name in codes} == codes
