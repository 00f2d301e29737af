"""What was the voltage when the detector sparked?

    python docs/examples/spark.py site.toml LAB:HV:CH0:IMON LAB:HV:CH0:VMON

Takes the highest current of the last day, and the voltage that held at that moment.
"""

import sys

from archiver.history import History
from archiver.sinks.csv_text import time_text

site, current, voltage = sys.argv[1:]
history = History.of_site(site)
currents = history.get(current, "1d", last_before=False)
times, values = currents.time_ns[currents.good], currents.value[currents.good]
spark = values.argmax()
when = int(times[spark])
held = history.get(voltage, when, when)  # the record of that instant, or the last one before it
print(f"{time_text(when, 'iso')}: {current} {values[spark]:.6g}")
print(f"{voltage} {held.value[-1]:.6g}, severity {held.severity[-1]}")
