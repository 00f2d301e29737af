"""Which request gets which answer: a path and its words in, a status and JSON out. No sockets here."""

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from archiver.history import History
from archiver.series import time_of
from archiver.serve import appliance, phoebus
from iocs.archive_tables import ServeTable

DAY_NS = 86_400 * 10**9


class Refused(Exception):
    """A request that is not answered: status and text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Answers:
    """What is answered about one history.

    Args:
        history: what was recorded.
        site: the site's name.
        table: bounds of what may be asked.
    """

    def __init__(self, history: History, site: str, table: ServeTable) -> None:
        self._history, self._site, self._table = history, site, table

    def answer(self, path: str, words: Mapping[str, str]) -> Any:
        """Give what JSON is made of.

        Raises:
            Refused: the request cannot be answered; it says why.
        """
        parts = [unquote(part) for part in path.strip("/").split("/")]
        try:
            match parts:
                case ["archive"]:
                    return phoebus.archives(self._site)
                case ["archive", key, "channels-by-pattern", *pattern]:
                    self._check_key(key)
                    return phoebus.matching(self._history.names(), "/".join(pattern))
                case ["archive", key, "samples", *name]:
                    self._check_key(key)
                    return self._samples("/".join(name), words)
                case ["retrieval", "data", "getData.json"]:
                    return self._data(words)
                case ["retrieval" | "mgmt", "bpl", "getMatchingPVs" | "getAllPVs"]:
                    return phoebus.matching(self._history.names(), words.get("pv", "*"))
        except LookupError as error:
            raise Refused(404, str(error.args[0])) from error
        except ValueError as error:
            raise Refused(400, str(error)) from error
        except OSError as error:
            raise Refused(503, f"what was recorded cannot be read: {error}") from error
        raise Refused(404, "there are /archive/ (Phoebus, json:) and /retrieval/data/getData.json (Archiver Appliance)")

    def _check_key(self, key: str) -> None:
        if key != str(phoebus.KEY):
            raise Refused(404, f"there is one archive here, {phoebus.KEY}")

    def _samples(self, name: str, words: Mapping[str, str]) -> list[dict[str, Any]]:
        start, end = (self._whole(words, key) for key in ("start", "end"))
        self._check_span(start, end)
        series, signal = self._history.get(name, start, end), self._history.signal(name)
        count = self._whole(words, "count") if "count" in words else len(series)
        count = max(1, min(count, self._table.most_samples))
        if len(series) > count and series.value.dtype != object:
            return list(phoebus.binned(series, signal, start, end, count))
        if len(series) > self._table.most_samples:
            raise Refused(400, f"{len(series)} texts; at most {self._table.most_samples} are given: ask for less time")
        return list(phoebus.samples(series, signal))

    def _data(self, words: Mapping[str, str]) -> list[dict[str, Any]]:
        name, operator, seconds = appliance.asked(words.get("pv", ""))
        now = time.time_ns()
        end = time_of(words.get("to", "now"), now)
        start = time_of(words["from"], now) if "from" in words else end - 3600 * 10**9
        self._check_span(start, end)
        series = self._history.get(name, start, end, last_before=not operator)
        count = (end - start) // 10**9 // seconds if operator else len(series)
        if count > self._table.most_samples:
            most = self._table.most_samples
            raise Refused(400, f"{count} samples; at most {most} are given: ask for less time, or for mean_60(NAME)")
        return appliance.told(series, self._history.signal(series.pv), operator, seconds)

    @staticmethod
    def _whole(words: Mapping[str, str], key: str) -> int:
        text = words.get(key, "")
        if not text.isdigit():
            raise ValueError(f"{key} = {text!r} is not a whole number; times are ns since 1970")
        return int(text)

    def _check_span(self, start_ns: int, end_ns: int) -> None:
        if end_ns < start_ns:
            raise ValueError("the end lies before the start")
        days = (end_ns - start_ns) / DAY_NS
        if days > self._table.most_days:
            raise ValueError(f"{days:.0f} days; at most {self._table.most_days:g} are given (key most_days of [serve])")
