"""Sparklines as they were before this program began: from the archive, slowly, beside all else."""

import logging
import time

from archiver.history import History
from archiver.series import SECOND
from archiver.serve.board import BIN, BINS, Spark, shown
from archiver.serve.live import Live
from archiver.serve.watching import Watching
from iocs.config import Site
from iocs.signals import Archive, Kind, Signal

log = logging.getLogger(__name__)


def seed(site: Site, live: Live, watching: Watching) -> None:
    """Put the last hour of what is recorded into the sparklines; ends when the program does."""
    try:
        history = History.of_site(site)
        board = live.board
        wanted = watching.call(lambda: [item for each in board.devices.values() for item in shown(each).items()])
        for pv, _ in sorted(filter(_recorded, wanted), key=lambda item: bool(item[1].row)):  # columns cost most
            began = time.monotonic()
            try:
                spark = _hour(history, pv)
            except (LookupError, OSError) as error:
                log.debug("%s: no sparkline from the archive: %s", pv, error)
                continue
            watching.call(board.seed, pv, spark)
            time.sleep(time.monotonic() - began)  # half the time is for those who look
    except ConnectionAbortedError:
        log.debug("the program stops")


def _recorded(item: tuple[str, Signal]) -> bool:
    _, signal = item
    number = signal.kind in (Kind.FLOAT, Kind.INT) and signal.count == 1
    return number and bool(signal.row or signal.archive is not Archive.NONE)


def _hour(history: History, pv: str) -> Spark:
    now = time.time_ns()
    series, spark = history.get(pv, now - BIN * BINS * SECOND, now), Spark()
    for time_ns, value, good in zip(series.time_ns.tolist(), series.value.tolist(), series.good.tolist(), strict=True):
        spark.add(time_ns / SECOND, value if good else None)
    return spark
