import subprocess
import sys
from pathlib import Path

import pytest

from iocs.config import load
from iocs.old_pmu_config import translate

ROOT = Path(__file__).resolve().parents[2]

SHIPPED = """Info, This file sets what the program does. Write one key, a comma and its value on each line.
PMU IP, 192.168.0.20
PMU Number, 123
PMU Port, 4712
CSV Name, PMUtoCSV_configDefault_
CSV Directory, OutputData/
Time Significant Figures, 13
Values Significant Figures, 7
Write Every X Seconds, 5
New File Every X Seconds, 3600
"""
README_SPELLING = SHIPPED.replace("Values Sig", "Value Sig").replace("X Seconds, 5", "X SEconds, 5")


def as_site(tmp_path, text):
    old = tmp_path / "PMU2CSV_config.txt"
    old.write_text(text, encoding="utf-8")
    advice = translate(old)
    assert advice is not None
    path = tmp_path / "site.toml"
    path.write_text(advice, encoding="utf-8")
    return load(path, kinds=True)


@pytest.mark.parametrize("text", [SHIPPED, README_SPELLING, SHIPPED.replace(", ", ","), SHIPPED.replace("\n", " \r\n")])
def test_the_shipped_file_becomes_a_site_file_with_its_values(tmp_path, text):
    site = as_site(tmp_path, text)
    (pmu,) = site.devices
    csv = site.archive.csv
    assert (pmu.type, pmu.settings.link, pmu.settings.idcode) == ("pmu", "tcp://192.168.0.20:4712", 123)
    assert pmu.settings.angle == "rad"
    assert (csv.name, csv.directory) == ("PMUtoCSV_configDefault_", tmp_path / "OutputData")
    assert (csv.time_digits, csv.value_digits, csv.write_every, csv.new_file_every) == (13, 7, 5, 3600)


def test_each_value_is_taken_over(tmp_path):
    text = "PMU IP, 10. 0.0.7\nPMU Number, 5\nPMU Port, 4713\nCSV Name, my site_\nCSV Directory, D:\\pmu data\\\n"
    text += "Time Significant Figures, 16\nValue Significant Figures, 9\nWrite Every X SEconds, 60\n"
    text += "New File Every X Seconds, 86400\n"
    site = as_site(tmp_path, text)
    csv = site.archive.csv
    assert (site.devices[0].settings.link, site.devices[0].settings.idcode) == ("tcp://10.0.0.7:4713", 5)
    assert (csv.name, csv.directory) == ("mysite_", tmp_path / "D:/pmu data")
    assert (csv.time_digits, csv.value_digits, csv.write_every, csv.new_file_every) == (16, 9, 60, 86400)


def test_values_that_are_not_allowed_become_the_default_and_are_told(tmp_path):
    text = SHIPPED.replace("PMU Number, 123", 'PMU Number, "x"').replace("Figures, 13", "Figures, 3")
    site = as_site(tmp_path, text.replace("Seconds, 5", "Seconds, -1").replace("Figures, 7", "Figures, 7.5"))
    advice = (tmp_path / "site.toml").read_text()
    assert site.devices[0].settings.idcode == 1 and site.archive.csv.time_digits == 13
    assert site.archive.csv.write_every == 5 and site.archive.csv.value_digits == 7
    assert advice.count("the old file has") == 4


def test_a_quote_in_a_value_does_not_break_out(tmp_path):
    site = as_site(tmp_path, SHIPPED.replace("PMUtoCSV_configDefault_", 'a"b\\c'))
    assert site.archive.csv.name == 'a"b\\c'


@pytest.mark.parametrize(
    "content",
    [
        (ROOT / "site.example.toml").read_bytes(),
        b"",
        b"\xff\x00garbage, \xfe\n" * 9,
        b"a, b\nc, d\n",
        b"PMU IP = 3\n",
        b"PMU IP\nPMU Number\n",
    ],
)
def test_other_files_are_not_taken_for_one(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    assert translate(path) is None
    assert translate(tmp_path / "absent") is None and translate(tmp_path) is None


def test_check_prints_it(tmp_path):
    old = tmp_path / "PMU2CSV_config.txt"
    old.write_text(SHIPPED)
    command = [sys.executable, "-m", "iocs", "check", str(old)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "") and "idcode = 123" in done.stdout
