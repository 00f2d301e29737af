"""The gas of the last hour: `python docs/examples/gas_query.py site.toml [LAB:GAS:TEMP]`. Add --influx to ask InfluxDB.

What the old `gas_query.py` asked the database for: values of a time, one quantity of them, and their mean.
"""

import sys

from archiver.history import History

influx = "--influx" in sys.argv
site, *names = [word for word in sys.argv[1:] if word != "--influx"]
history = History.of_site(site, influx=influx)
for name in names or ["GAS:TEMP", "GAS:PRES", "GAS:RH"]:
    series = history.get(name, "1h", last_before=False)
    unit = getattr(history.signal(series.pv), "unit", "")
    print(f"{series.pv}: {len(series)} values, mean {series.mean():.6g} {unit}".rstrip())
    for value, count in zip(series.every(600).mean, series.every(600).count, strict=True):
        print(f"    10 minutes: {value:.6g} ({count} values)")
