"""Both sample files against an independent calculation: read by pandas, calibrated by formulas written out here."""

import gzip
import io

import numpy as np
import pandas

from ingest.cr1000.__main__ import main
from tests.cr1000 import write

MET, DAILY = "cr1000/met-10min.toa5.dat", "cr1000/station-daily.toa5.dat"


def ingested(folder, files, data, *options):
    """Give what was published, by time."""
    out = folder / "out.csv"
    write(folder, files)
    assert main([str(data), "--config", str(folder), "--station", "sum", "--csv", str(out), *options]) == 0
    table = pandas.read_csv(out, parse_dates=["time"]).set_index("time")
    return table.tz_localize(None) if table.index.tz is not None else table


def raw(path):
    """Read a sample."""
    table = pandas.read_csv(path, header=1, skiprows=[2, 3], na_values=["NAN"], low_memory=False)
    return table.set_index(pandas.to_datetime(table.pop("TIMESTAMP"), format="ISO8601"))


CONFIGURATION = {
    "global.cfg": ",,Vx,calibration,43\n,,Tx,calibration,40\n",
    "sum.cfg": """\
# columns of the table of ten minutes
,,P,ptb,@2071,4
,,T1,hmp155,@A12,5
,,T2,calibration,6,0.5:0.99
,,U1,calibration,7,"0,1.02,-0.0005"
,,WS,ventus,@9,8
,,WD,ventus,@9,9
2016-08-10,2016-08-20 12:00,T1,calibration,6
,,T1:metadata,description,at 2m
""",
    "sensors/ptb/default.cfg": ",,0.12:1\n",
    "sensors/ptb/2071.cfg": "2016-08-16,,0.3:1.0001\n",
    "sensors/hmp155/A12.cfg": ",2016-08-05,0.1:1\n2016-08-05,,-0.2:1.001\n",
    "sensors/ventus/9.cfg": ",,0:1.1,40:1\n",
}


def test_a_month_of_ten_minutes(sample, tmp_path):
    data = sample(MET)
    got, source = ingested(tmp_path, CONFIGURATION, data), raw(data)
    time = source.index
    first, second = source["Temperature_Avg"], source["Temperature2_Avg"]
    swapped = (time >= "2016-08-10") & (time < "2016-08-20 12:00")
    u = source["RelativeHumidity_Avg"]
    p = source["AirPressure_Avg"]
    expected = {
        "P [hPa]": np.where(time < "2016-08-16", p + 0.12, p * 1.0001 + 0.3),
        "T1 [degC]": np.where(swapped, second, np.where(time < "2016-08-05", first + 0.1, first * 1.001 - 0.2)),
        "T2 [degC]": 0.5 + 0.99 * second,
        "U1 [%]": 1.02 * u - 0.0005 * u**2,
        "WS1 [m s-1]": 1.1 * source["WindSpeed"],
        "WD1 [degree]": (source["WindDirection"] + 40) % 360,
        "Vx [V]": source["VoltageBatteries"],
        "Tx [degC]": source["TemperatureLogger_Avg"],
    }
    assert set(got.columns) == set(expected) and list(got.index) == list(time)
    for name, values in expected.items():
        np.testing.assert_allclose(got[name], values, rtol=1e-12, atol=1e-9, err_msg=name)


def test_a_table_of_days(sample, tmp_path):
    data = sample(DAILY)
    files = {
        "sum.cfg": ",,T1,thermo,@5,5\n,,P,calibration,13,0:1.3332239\n,2014-06-01,WI,calibration,4,0:0.0416666667\n"
        ",,Vx,calibration,3\n",
        "sensors/thermo/default.cfg": ",2014-05-01,0.5:1\n",
    }
    got, source = ingested(tmp_path, files, data), raw(data)
    time = source.index
    expected = {
        "T1 [degC]": np.where(time < "2014-05-01", source["AirT_Max"] + 0.5, source["AirT_Max"]),
        "P [hPa]": source["BaromPres_Max"] * 1.3332239,
        "WI [mm h-1]": np.where(time < "2014-06-01", source["Rain_Tot"] * 0.0416666667, np.nan),
        "Vx [V]": source["Batt_Min"],
    }
    assert set(got.columns) == set(expected) and list(got.index) == list(time)
    for name, values in expected.items():
        np.testing.assert_allclose(got[name], values, rtol=1e-12, atol=1e-9, err_msg=name)


def test_a_long_table_leaves_out_what_no_line_covers(sample, tmp_path):
    data = sample(DAILY)
    files = {"sum.cfg": ",2014-06-01,WI,calibration,4\n,,Vx,calibration,3\n"}
    long = ingested(tmp_path, files, data, "--long")
    source = raw(data)
    counts = long["parameter"].value_counts()
    assert counts["WI"] == (source.index < "2014-06-01").sum() and counts["Vx"] == len(source)
    assert list(long[long["parameter"] == "Vx"]["value"]) == list(source["Batt_Min"])


def test_compressed_and_to_stdout(sample, tmp_path, capfdbinary):
    data = sample(DAILY)
    packed = tmp_path / "met.dat.gz"
    packed.write_bytes(gzip.compress(data.read_bytes()))
    write(tmp_path, {"sum.cfg": ",,Vx,calibration,3\n"})
    assert main([str(packed), "--config", str(tmp_path), "--station", "sum"]) == 0
    table = pandas.read_csv(io.BytesIO(capfdbinary.readouterr().out))
    assert list(table["Vx [V]"]) == list(raw(data)["Batt_Min"])
