import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.link import Address, Backoff, parse_address

hosts = (
    st.from_regex(r"\A[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?\Z")
    | st.ip_addresses(v=4).map(str)
    | st.ip_addresses().map(str)
)
paths = st.from_regex(r"\A(/[A-Za-z0-9_.:+@%-]{1,12}){1,4}\Z")
line_options = st.fixed_dictionaries(
    {},
    optional={
        "baud": st.integers(1, 99_999_999).map(str),
        "frame": st.sampled_from(["8N1", "7E1", "8O2", "5M1.5", "6S1"]),
        "xonxoff": st.sampled_from(["on", "off"]),
        "dtr": st.sampled_from(["keep", "on", "off", "hupcl-off"]),
    },
)
addresses = st.builds(lambda host, port: Address("tcp", host, port), hosts, st.integers(1, 65535)) | st.builds(
    lambda path, options: Address("serial", path=path, options=options), paths, line_options
)


@given(addresses)
def test_an_address_survives_being_written(address):
    read = parse_address(str(address))
    assert read == address and hash(read) == hash(address)
    assert dict(read.options) == dict(address.options)


def test_address_syntax():
    assert parse_address("tcp://box", 4712) == Address("tcp", "box", 4712)
    assert parse_address("tcp://box:1", 4712).port == 1
    address = parse_address("tcp://[fe80::1%eth0]:5")
    assert (address.host, address.port) == ("fe80::1%eth0", 5)
    assert str(parse_address("tcp://[::1]:5")) == "tcp://[::1]:5"
    port = parse_address("serial:///dev/serial/by-path/pci-0000:00:14.0-usb-0:2:1.0?baud=115200&dtr=hupcl-off", 4712)
    assert port.path == "/dev/serial/by-path/pci-0000:00:14.0-usb-0:2:1.0"
    assert (port.host, port.port, dict(port.options)) == ("", None, {"baud": "115200", "dtr": "hupcl-off"})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("192.168.0.20:4712", "is not an address"),
        ("tcp:192.168.0.20:4712", "is not an address"),
        ("tcp://", "is not an address of the kind 'tcp': write for example tcp://"),
        ("tcp://a b:1", "is not an address"),
        ("tcp://a:b", "is not an address"),
        ("tcp://::1:5", "is not an address"),
        ("tcp://host:1/path", "is not an address of the kind 'tcp'"),
        ("", "is not an address"),
        ("ftp://host:1", "'ftp' are not known here; known: tcp, serial, rfc2217"),
        ("tcp://host", "has no port"),
        ("tcp://host:0", "not within 1..65535"),
        ("tcp://host:65536", "not within 1..65535"),
        ("tcp://host:1?baud=9600", "there is no option 'baud'; tcp:// has none"),
        ("rfc2217://host", "has no port"),
        ("rfc2217://host:1/dev/ttyS0", "is not an address of the kind 'rfc2217': write for example rfc2217://"),
        ("rfc2217://host:1?dtr=hupcl-off", "option dtr cannot be 'hupcl-off'; it may be: keep, on, off"),
        ("serial://ttyACM0", "is not an address of the kind 'serial': write for example serial:///dev/"),
        ("serial://host/dev/ttyACM0", "is not an address of the kind 'serial'"),
        ("serial://:5/dev/ttyACM0", "is not an address of the kind 'serial'"),
        ("serial:///dev/ttyACM0?bauds=9600", "there is no option 'bauds'; known: baud, frame, xonxoff, dtr"),
        ("serial:///dev/ttyACM0?baud", "option baud cannot be ''; it may be: bits per second"),
        ("serial:///dev/ttyACM0?baud=fast", "option baud cannot be 'fast'; it may be: bits per second"),
        ("serial:///dev/ttyACM0?baud=0", "option baud cannot be '0'"),
        ("serial:///dev/ttyACM0?frame=9N1", "option frame cannot be '9N1'; it may be: data bits 5 to 8.*8N1"),
        ("serial:///dev/ttyACM0?xonxoff=yes", "option xonxoff cannot be 'yes'; it may be: on, off"),
        ("serial:///dev/ttyACM0?dtr=hupcl", "option dtr cannot be 'hupcl'; it may be: keep, on, off, hupcl-off"),
        ("serial:///dev/ttyACM0?baud=9600&baud=9600", "option baud is given twice"),
    ],
)
def test_what_is_no_address_is_refused_with_an_example(text, why):
    with pytest.raises(ValueError, match=why):
        parse_address(text)


# back-off


@given(st.floats(0.01, 1), st.floats(1, 100), st.integers(1, 30))
def test_backoff_grows_to_its_longest_and_never_beyond(first, longest, attempts):
    backoff = Backoff(first, longest)
    for n in range(attempts):
        wanted = min(first * 2**n, longest)
        assert 0.8 * wanted <= backoff.next() <= wanted
    backoff.reset()
    assert backoff.next() <= first


def test_backoff_of_the_house():
    backoff = Backoff()
    waits = [backoff.next() for _ in range(12)]
    assert 0.08 <= waits[0] <= 0.1 and 12 <= waits[-1] <= 15
