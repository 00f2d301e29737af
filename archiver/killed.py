"""What a run that was killed leaves open is marked in the data by the next one: from when on nothing is known."""

import logging
import time
from collections.abc import Iterable, Sequence

from archiver.batch import Batch, Event, Mark, Source, foreign, source_of
from archiver.last_events import LastEvents
from archiver.outlet import Outlet
from archiver.sinks.csv_text import time_text
from iocs.signals import Catalogue

log = logging.getLogger(__name__)


def mark_kill(outlets: Sequence[Outlet], last: LastEvents, catalogues: Iterable[str], prefix: str) -> None:
    """Mark a gap for each PV that was being heard, in each store from the moment up to which it has all that came.

    Args:
        outlets: the stores.
        last: what the run before has noted; after an orderly end no PV was being heard.
        catalogues: of the devices, as JSON.
        prefix: the site's.
    """
    heard = sorted(last.heard)
    if not heard:
        return
    sources = _sources(catalogues, prefix)
    for outlet in outlets:
        if since := last.safe_ns.get(outlet.sink.name):
            words = "%s: the run before was killed: a gap is marked from %s on"
            log.warning(words, outlet.sink.name, time_text(since, "iso"))
            outlet.add_gaps({sources.get(pv) or foreign(pv, prefix): Mark(Event.GAP, since) for pv in heard})
            outlet.record(Batch(time.time_ns()))
    last.put(heard=dict.fromkeys(heard, False))


def _sources(catalogues: Iterable[str], prefix: str) -> dict[str, Source]:
    found = {}
    for text in catalogues:
        try:
            catalogue = Catalogue.from_json(text)
        except ValueError as error:
            log.warning("a kept catalogue cannot be used: %s", error)
            continue
        for name in [*(signal.name for signal in catalogue.signals), *(row.name for row in catalogue.rows)]:
            source = source_of(catalogue, name, prefix)
            found[source.pv] = source
    return found
