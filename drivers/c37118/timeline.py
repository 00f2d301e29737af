"""The time stamps of a stream, one after the other: what is missing, sent twice, or jumps (pure)."""

from dataclasses import dataclass

from drivers.c37118.frames import DataFrame

SECOND = 10**9


@dataclass
class Counts:
    """What happened on a link since its client was made.

    Attributes:
        frames: data frames handed out.
        missed: frames that the data rate and the time stamps say are missing.
        duplicates: frames sent twice (same time, same leap bits); not handed out again.
        time_jumps: stamps that went back, or ahead by more than `Timeline.longest_gap`; nothing is counted as missed
            there.
        bad_fracsec: stamps with FRACSEC at or above TIME_BASE (carried into the seconds).
        stale: data frames whose size did not fit the configuration in use when they came.
        bad_times: data frames whose time stamp cannot be (1970, the far future); not handed out.
        reordered: frames that came after later ones and were put in order (datagrams only).
        too_late: frames that came when they were waited for no longer; not handed out (datagrams only).
        undecodable: frames with a good CRC that could not be decoded and were dropped.
        strangers: frames of another IDCODE.
        bad_crc, skipped_bytes: of the byte stream.
        reconnects: connections after the first.
    """

    frames: int = 0
    missed: int = 0
    duplicates: int = 0
    time_jumps: int = 0
    bad_fracsec: int = 0
    stale: int = 0
    bad_times: int = 0
    reordered: int = 0
    too_late: int = 0
    undecodable: int = 0
    strangers: int = 0
    bad_crc: int = 0
    skipped_bytes: int = 0
    reconnects: int = 0


class Timeline:
    """Compares each frame's time with the one before, over reconnects too, and counts.

    Attributes:
        longest_gap: seconds; a longer step ahead is a jump of the clock, not missing frames.
    """

    longest_gap = 300.0

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._last: DataFrame | None = None

    def new(self, frame: DataFrame, period: float) -> bool:
        """Count a frame; False = it is the one before, sent twice.

        A leap second is no jump: an inserted one repeats a SOC value, a deleted one skips one, at the frame where the
        bit for "pending" gives way to that for "occurred" (C37.118.2-2011, table 3).

        Args:
            frame: the next frame as it came.
            period: seconds from frame to frame by the configuration.
        """
        last, self._last = self._last, frame
        if last is None:
            return True
        step = frame.time_ns - last.time_ns
        if step == 0 and frame.tq.raw & 0x70 == last.tq.raw & 0x70:
            self._counts.duplicates += 1
            return False
        if last.tq.leap_pending and frame.tq.leap_occurred and not frame.tq.leap_pending:
            if frame.tq.leap_deleted and step >= SECOND:
                step -= SECOND
            elif not frame.tq.leap_deleted and step <= 0:
                step += SECOND
        if not 0 < step <= max(self.longest_gap, 3 * period) * SECOND:
            self._counts.time_jumps += 1
        else:
            self._counts.missed += max(round(step / SECOND / period) - 1, 0)
        return True
