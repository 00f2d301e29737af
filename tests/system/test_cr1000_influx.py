"""From the command line into a real InfluxDB: a swapped sensor is one series, what is gone is removed."""

from ingest.cr1000.__main__ import main
from tests.cr1000 import write
from tests.influx import running

HEAD = '"TOA5","sum","CR1000","1","OS","PROG","2","Met"\n"TIMESTAMP","RECORD","A","S"\n"TS","RN","",""\n"","","",""\n'
SITE = """
[site]
name = "station"
prefix = "ST:"

[archive.influx]
url = "{url}"
version = 1
bucket = "met"
"""


def test_a_station_in_influxdb(tmp_path, capfd):
    with running(tmp_path / "influxd", "met") as server:
        write(
            tmp_path,
            {
                "site.toml": SITE.format(url=server.url),
                "sum.cfg": ",,T,hmp,4,3\n,2016-09-01T00:02,P,calibration,3\n,,LOGGER,string,4\n",
                "sensors/hmp/a.cfg": ",,1:2\n",
                "sensors/hmp/b.cfg": ",,1:3\n",
                "sum.dat": HEAD + "".join(f'"2016-09-01 00:0{m}:00",{m},{m},"{"aabb"[m]}"\n' for m in range(4)),
            },
        )

        def ingested(*options):
            where = ["--config", str(tmp_path), "--station", "sum", "--influx", str(tmp_path / "site.toml")]
            assert main([str(tmp_path / "sum.dat"), *where, *options]) == 0
            told = server.points("met", "met")
            for point in told:
                point["time"] = (point["time"] - 1472688000 * 10**9) // 60_000_000_000
            return told, capfd.readouterr().err

        same = {"measurement": "met", "station": "sum", "instrument": "XM1"}
        expected = [
            {**same, "time": 0, "T1": 1, "T1_serial": "a", "P": 0, "LOGGER": "a"},
            {**same, "time": 1, "T1": 3, "T1_serial": "a", "P": 1, "LOGGER": "a"},
            {**same, "time": 2, "T1": 7, "T1_serial": "b", "LOGGER": "b"},
            {**same, "time": 3, "T1": 10, "T1_serial": "b", "LOGGER": "b"},
        ]
        assert ingested("--workers", "2")[0] == expected
        assert "up to date" in ingested()[1]
        write(tmp_path, {"sum.cfg": "2016-09-01T00:01,,T,hmp,4,3\n"})
        for point in expected:
            del point["LOGGER"]
            point.pop("P", None)
        told, err = ingested()
        assert told == expected[1:] and "3 points to InfluxDB" in err
