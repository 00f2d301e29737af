"""A PMU's or concentrator's C37.118 stream as PVs.

* `settings`: its table of the site file.
* `signals`: the PVs that a configuration gives, and a frame's values.
* `quality`: what STAT and time quality say about them.
* `device`: the stream itself.
"""

from iocs.pmu.device import PMU
from iocs.pmu.settings import PmuSettings

__all__ = ["PMU", "PmuSettings"]
