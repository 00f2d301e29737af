"""TCP in order: whatever the capture did to it, the bytes come out as they were sent."""

from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.c37118 import reassembly
from drivers.c37118.reassembly import BREAK, Reassembly

TEXT = bytes(range(100))


def joined(pieces) -> list[bytes]:
    """Runs of bytes between breaks."""
    runs = [b""]
    for piece in pieces:
        if piece is BREAK:
            runs.append(b"")
        else:
            runs[-1] += piece
    return runs


def run(*segments: tuple[int, bool, bytes]) -> tuple[list[bytes], Reassembly]:
    tcp = Reassembly()
    pieces = [piece for segment in segments for piece in tcp.add(*segment)]
    return joined(pieces + tcp.end()), tcp


def sent(begin: int, end: int, isn: int = 999) -> tuple[int, bool, bytes]:
    return (isn + 1 + begin) % 2**32, False, TEXT[begin:end]


SYN = (999, True, b"")


def test_in_order():
    assert run(SYN, sent(0, 10), sent(10, 100))[0] == [TEXT]


def test_retransmission_overlap_and_keep_alive():
    runs, tcp = run(SYN, SYN, sent(0, 20), sent(0, 20), sent(10, 40), SYN, (1039, False, b"\0"), sent(40, 100))
    assert runs == [TEXT]
    assert (tcp.holes, tcp.connections) == (0, 1)


def test_out_of_order():
    runs, tcp = run(SYN, sent(50, 100), sent(20, 30), sent(10, 40), sent(0, 10), sent(30, 60))
    assert runs == [TEXT]
    assert tcp.holes == 0


def test_wrap_around():
    for isn in (2**32 - 1, 2**32 - 2, 2**32 - 50):
        segments = [sent(50, 100, isn), sent(0, 50, isn)]
        assert run((isn, True, b""), *segments)[0] == [TEXT]


def test_mid_stream_start():
    assert run(sent(30, 60), sent(60, 100))[0] == [TEXT[30:]]


def test_a_hole_is_a_break():
    runs, tcp = run(SYN, sent(0, 10), sent(20, 30), sent(40, 50), sent(30, 40))
    assert runs == [TEXT[:10], TEXT[20:50]]
    assert tcp.holes == 1


def test_a_hole_is_given_up_when_much_came_behind_it(monkeypatch):
    for limit, value in (("HELD_BYTES", 30), ("HELD_SEGMENTS", 3)):
        with monkeypatch.context() as patch:
            patch.setattr(reassembly, limit, value)
            tcp = Reassembly()
            pieces = tcp.add(*SYN) + tcp.add(*sent(0, 10))
            for begin in (20, 30, 40):
                assert tcp.add(*sent(begin, begin + 10)) == []
            assert joined(tcp.add(*sent(50, 60))) == [b"", TEXT[20:60]]
            assert tcp.add(*sent(10, 20)) == []  # too late
            assert joined(pieces) == [TEXT[:10]]
            assert tcp.holes == 1


def test_reconnect():
    runs, tcp = run(SYN, sent(0, 30), sent(40, 50), (5000, True, b""), (5001, False, TEXT))
    assert runs == [TEXT[:30], TEXT[40:50], TEXT]
    assert (tcp.holes, tcp.connections) == (1, 2)


def test_reconnect_without_its_syn():
    runs, tcp = run(sent(0, 30), (1 << 31, False, TEXT), sent(30, 40))
    assert runs == [TEXT[:30], TEXT, TEXT[30:40]]
    assert tcp.connections == 3


def test_data_in_the_syn():
    assert run((999, True, TEXT[:10]), sent(10, 100))[0] == [TEXT]


@settings(deadline=None)
@given(st.data())
def test_any_order_of_any_segments(draw):
    cuts = sorted(draw.draw(st.sets(st.integers(1, 99), max_size=12)))
    segments = [sent(begin, end) for begin, end in zip([0, *cuts], [*cuts, 100], strict=True)]
    extra = draw.draw(st.lists(st.tuples(st.integers(0, 90), st.integers(1, 10)), max_size=6))
    segments += [sent(begin, begin + size) for begin, size in extra]
    isn = draw.draw(st.integers(0, 2**32 - 1))
    shuffled = draw.draw(st.permutations(segments))
    moved = [((seq - 999 + isn) % 2**32, syn, data) for seq, syn, data in shuffled]
    runs, tcp = run((isn, True, b""), *moved)
    assert runs == [TEXT]
    assert (tcp.holes, tcp.connections) == (0, 1)
