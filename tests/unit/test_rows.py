"""Following a row PV: sequence, repeats, restarts, and catalogues that come late or never."""

import logging
import math

import numpy as np
import pytest

from archiver.rows import WAIT_ROWS, WAIT_SECONDS, RowFollower, read_row
from iocs.signals import Row, Signal

A = Row("ROW", (Signal("A"), Signal("B")))
C = Row("ROW", (Signal("C"),))
T = 1_790_000_000


class Taken:
    """Where rows go in these tests."""

    def __init__(self) -> None:
        self.rows: list[tuple[tuple[str, ...], int, list[float]]] = []
        self.now = 0.0
        self.follower = RowFollower("LAB:PMU:ROW", self.take, self.gap, clock=lambda: self.now)
        self.gaps: list[tuple[int, int, int]] = []

    def take(self, row, event) -> None:
        self.rows.append((tuple(signal.name for signal in row.signals), event.time_ns, list(event.values)))

    def gap(self, missed: int, since: int, until: int) -> None:
        self.gaps.append((missed, since, until))

    def send(self, sequence: int, version: int = 1, values=(1.0, 2.0), seconds: int | None = None) -> bool:
        return self.follower.receive(
            np.array([sequence, version, T + sequence if seconds is None else seconds, 5, *values])
        )

    @property
    def sequences(self) -> list[int]:
        return [time_ns // 10**9 - T for _, time_ns, _ in self.rows]


@pytest.fixture
def taken() -> Taken:
    taken = Taken()
    taken.follower.learn(1, A)
    return taken


def test_a_row_is_read_from_its_elements() -> None:
    event = read_row(np.array([7.0, 3, 4_294_967_295, 999_999_999, 1.5, math.nan]))
    assert event is not None
    assert (event.sequence, event.version, event.time_ns) == (7, 3, 4_294_967_295_999_999_999)
    assert event.values[0] == 1.5 and math.isnan(event.values[1])


@pytest.mark.parametrize("value", [None, "", np.array([]), np.array([1.0, 2.0]), np.array([0.0, 0, 0, 0, 1]), 5.0])
def test_no_row_yet(value) -> None:
    assert read_row(value) is None


@pytest.mark.parametrize(
    "head", [(math.nan, 1, 1, 1), (1, 1, math.inf, 1), (1, 1, 1, 1e9), (-1, 1, 1, 1), (1.5, 1, 1, 1)]
)
def test_what_is_not_a_row_is_counted(taken: Taken, head, caplog: pytest.LogCaptureFixture) -> None:
    assert not taken.follower.receive(np.array([*head, 2.0]))
    assert not taken.follower.receive(np.array([*head, 2.0]))
    assert taken.follower.malformed == 2 and caplog.text.count("not a row") == 1


def test_rows_in_sequence(taken: Taken) -> None:
    assert all(taken.send(number) for number in (41, 42, 43))
    assert taken.rows[0] == (("A", "B"), (T + 41) * 10**9 + 5, [1.0, 2.0])
    assert taken.follower.rows == 3 and taken.follower.missed == 0


def test_a_gap_is_counted_and_told_with_its_times(taken: Taken, caplog: pytest.LogCaptureFixture) -> None:
    for number in (1, 2, 6):
        taken.send(number)
    assert (taken.follower.gaps, taken.follower.missed, taken.follower.rows) == (1, 3, 3)
    assert [missed for missed, _, _ in taken.gaps] == [3]
    assert "3 rows are missing between 2026-09-21T14:13:22.000000005Z and 2026-09-21T14:13:26.000000005Z" in caplog.text


def test_many_gaps_are_one_line_a_minute(taken: Taken, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(1, 101, 2):
        taken.send(number)
    assert caplog.text.count("missing") == 1
    taken.follower.tick()
    assert caplog.text.count("missing") == 1
    taken.now = 61
    taken.follower.tick()
    assert "48 rows are missing in 48 gaps" in caplog.text
    assert taken.follower.missed == 49


def test_the_same_number_again_is_a_repeat(taken: Taken) -> None:
    assert taken.send(5) and not taken.send(5) and not taken.send(5)
    assert (taken.follower.repeats, taken.sequences) == (2, [5])


def test_a_fall_is_a_restart_and_not_a_gap(taken: Taken, caplog: pytest.LogCaptureFixture) -> None:
    for number in (8, 9, 3, 4):
        taken.send(number)
    assert (taken.follower.restarts, taken.follower.missed) == (1, 0)
    assert taken.sequences == [8, 9, 3, 4]
    assert "its first 2 rows came before we found it" in caplog.text


def test_the_same_number_with_another_time_is_a_restart(taken: Taken) -> None:
    assert taken.send(1) and taken.send(1, seconds=T + 60)
    assert (taken.follower.restarts, taken.follower.repeats) == (1, 0)


def test_rows_wait_for_their_catalogue_in_order() -> None:
    taken = Taken()
    taken.send(1)
    taken.send(2)
    assert taken.rows == [] and taken.follower.waiting == 2
    taken.follower.learn(1, A)
    taken.send(3, 2, [9.0])
    taken.send(4, 2, [8.0])
    assert taken.sequences == [1, 2] and taken.follower.waiting == 2
    taken.follower.learn(2, C)
    assert taken.sequences == [1, 2, 3, 4] and taken.follower.waiting == 0
    assert taken.rows[-1][0] == ("C",)


def test_the_catalogue_may_come_before_the_last_rows_of_the_old_one(taken: Taken) -> None:
    taken.follower.learn(2, C)
    taken.send(1)
    taken.send(2, 2, [9.0])
    assert [names for names, _, _ in taken.rows] == [("A", "B"), ("C",)]


def test_after_a_loss_of_the_link_the_catalogue_is_asked_anew(taken: Taken) -> None:
    taken.send(1)
    taken.follower.forget()
    taken.send(2, values=[7.0])
    assert taken.follower.waiting == 1
    taken.follower.learn(1, C)
    assert taken.rows[-1][0] == ("C",)


def test_rows_whose_catalogue_never_comes_keep_their_values(caplog: pytest.LogCaptureFixture) -> None:
    taken = Taken()
    taken.send(1)
    taken.send(2)
    taken.now = WAIT_SECONDS + 1
    taken.follower.tick()
    assert taken.sequences == [1, 2] and taken.rows[0][0] == ("COLUMN1", "COLUMN2")
    assert caplog.text.count("catalogue did not come") == 1
    taken.send(3, 2)
    taken.follower.learn(3, C)  # version 2 was never seen
    assert taken.sequences == [1, 2, 3]


def test_rows_waiting_are_bounded() -> None:
    taken = Taken()
    for number in range(1, WAIT_ROWS + 10):
        taken.send(number)
    assert taken.follower.waiting < WAIT_ROWS
    taken.follower.settle()
    assert len(taken.rows) == WAIT_ROWS + 9


def test_values_that_do_not_fit_get_no_wrong_names(taken: Taken, caplog: pytest.LogCaptureFixture) -> None:
    taken.send(1, values=[1.0, 2.0, 3.0])
    assert taken.rows[0][0] == ("COLUMN1", "COLUMN2", "COLUMN3")
    assert "names 2 columns" in caplog.text


def test_rows_of_a_simulator_are_refused_and_counted(taken: Taken) -> None:
    taken.follower.learn(1, None)
    taken.send(1)
    assert taken.rows == [] and taken.follower.refused == 1


def test_nothing_is_said_when_all_is_well(taken: Taken, caplog: pytest.LogCaptureFixture) -> None:
    taken.send(1)
    with caplog.at_level(logging.DEBUG):
        for number in range(2, 50):
            taken.send(number)
        taken.follower.tick()
    assert caplog.text == ""


def test_the_next_run_goes_on_from_the_last_row_of_the_one_before(taken: Taken) -> None:
    taken.send(5)
    again = Taken()
    again.follower = RowFollower("LAB:PMU:ROW", again.take, again.gap, taken.follower.last())
    again.follower.learn(1, A)
    assert not again.send(5) and again.send(9)
    assert again.sequences == [9] and again.gaps == [(3, (T + 5) * 10**9 + 5, (T + 9) * 10**9 + 5)]
