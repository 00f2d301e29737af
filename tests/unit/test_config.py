import json
import subprocess
import sys
from pathlib import Path

import pytest

from iocs import config
from iocs.config import ConfigError, load

ROOT = Path(__file__).resolve().parents[2]
GOOD = '[site]\nname = "x"\nprefix = "LAB:"\n'
PMU = '[[device]]\nname = "PMU"\ntype = "pmu"\nlink = "tcp://h"\nidcode = 1\n'


def write(directory, text):
    path = directory / "site.toml"
    path.write_text(text, encoding="utf-8")
    return path


def mistakes(directory, text, *, kinds=True):
    with pytest.raises(ConfigError) as caught:
        load(write(directory, text), kinds=kinds)
    assert all(line.startswith(f"{directory / 'site.toml'}: ") for line in str(caught.value).splitlines())
    return caught.value.mistakes


def test_a_good_file(tmp_path):
    site = load(write(tmp_path, GOOD + PMU), kinds=True)
    assert (site.name, site.prefix, site.simulated, site.directory) == ("x", "LAB:", False, tmp_path)
    (device,) = site.devices
    assert (device.name, device.type, device.settings.link) == ("PMU", "pmu", "tcp://h:4712")
    assert site.state_dir == tmp_path / "state" and site.archive.csv.directory == tmp_path / "data"
    assert site.for_simulation().state_dir == tmp_path / "sim"


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("", "[site]", "is missing"),
        ('[site]\nname = "x"\n', "[site], key prefix", "is missing"),
        (GOOD.replace("LAB:", "LAB"), "[site], key prefix", "must end with ':'"),
        (GOOD.replace("LAB:", "lab:"), "[site], key prefix", "capitals"),
        (GOOD.replace("LAB:", ":"), "[site], key prefix", "capitals"),
        (GOOD.replace('"LAB:"', "3"), "[site], key prefix", "string"),
        (GOOD + "colour = 3\n", "[site], key colour", "no such key"),
        (GOOD + "[colour]\n", "[colour]", "no such key"),
        (GOOD + '[device]\nname = "A"\n', "[device]", "[[device]]"),
        (GOOD + "device = [3]\n", "[site], key device", "no such key"),
        ("device = [3]\n" + GOOD, "[[device]]", "must be a table"),
        (GOOD + '[[device]]\ntype = "pmu"\n', '[[device]] "', "missing"),
        (GOOD + '[[device]]\nname = "A"\n', '[[device]] "A", key type', "is missing"),
        (GOOD + '[[device]]\nname = "A"\ntype = 3\n', '[[device]] "A", key type', "string"),
        (GOOD + PMU.replace('"PMU"', "5"), '[[device]] "5", key name', "string"),
        (GOOD + PMU.replace("PMU", "A:B"), '[[device]] "A:B", key name', "one part"),
        (GOOD + PMU.replace("PMU", "pmu "), '[[device]] "pmu ", key name', "capitals"),
        (GOOD + PMU.replace("PMU", "P" * 24), '", key name', "at most 28"),
        (GOOD + PMU + PMU, '[[device]] "PMU"', "used 2 times"),
        (GOOD + PMU.replace('"pmu"', '"hv_that_is_not"'), '[[device]] "PMU", key type', "known: "),
        (GOOD + PMU.replace('"pmu"', '"no_such_module:Foo"'), '[[device]] "PMU", key type', "no_such_module"),
        (GOOD + PMU.replace('"pmu"', '"iocs.pmu:Nothing"'), '[[device]] "PMU", key type', "Nothing"),
        (GOOD + PMU.replace('"pmu"', '"os:path"'), '[[device]] "PMU", key type', "not a kind of device"),
        (GOOD + PMU.replace('"pmu"', '":Foo"'), '[[device]] "PMU", key type', "no kind of device"),
        (GOOD + PMU.replace('"pmu"', '".a:Foo"'), '[[device]] "PMU", key type', "cannot be loaded"),
        (GOOD + PMU.replace("idcode = 1", "idcode = 0"), '[[device]] "PMU", key idcode', "greater than or equal to 1"),
        (GOOD + PMU.replace("tcp://h", "h"), '[[device]] "PMU", key link', "is not an address"),
        (GOOD + PMU + "collor = 1\n", '[[device]] "PMU", key collor', "no such key"),
        (GOOD + PMU + "limits.FREQ = [51, 49]\n", '[[device]] "PMU", key limits', "upside down"),
        (GOOD + PMU + "limits.FREQ = [nan, 49]\n", '[[device]] "PMU", key limits', "finite"),
        (GOOD + PMU + "limits.freq = [1, 2]\n", '[[device]] "PMU", key limits.freq', "capitals"),
        (GOOD + PMU + "alarms.FREQ = { high = 2, hihi = 1 }\n", '[[device]] "PMU", key alarms.FREQ', "above"),
        (GOOD + PMU + "alarms.FREQ = { high = inf }\n", '[[device]] "PMU", key alarms.FREQ.high', "finite"),
        (GOOD + PMU + "alarms.FREQ = { hi = 1 }\n", '[[device]] "PMU", key alarms.FREQ.hi', "no such key"),
        (GOOD + PMU + "lost_after = 0\n", '[[device]] "PMU", key lost_after', "greater than 0"),
        (GOOD + '[archive]\npvs = ["A B"]\n', "[archive], key pvs", "not the name of a PV"),
        (GOOD + '[archive.csv]\ntime_format = "julian"\n', "[archive.csv], key time_format", "'seconds'"),
        (GOOD + "[archive.csv]\nvalue_digits = 0\n", "[archive.csv], key value_digits", "at least 1"),
        (GOOD + '[archive.csv]\nvalue_digits = "all"\n', "[archive.csv], key value_digits", "repr"),
        (GOOD + "[archive.csv]\nwrite_every = 0\n", "[archive.csv], key write_every", "greater than 0"),
        (GOOD + "[archive.csv.row.PMU]\nwrite = 1\n", "[archive.csv.row.PMU], key write", "no such key"),
        (GOOD + "[archive.csv]\nvalue_digits = true\n", "[archive.csv], key value_digits", "repr"),
        (GOOD + "[archive.csv]\nnew_file_every = inf\n", "[archive.csv], key new_file_every", "less than or equal"),
        (GOOD + '[archive.csv]\nname = "a\\u0000b"\n', "[archive.csv], key name", "control characters"),
        (GOOD + "[archive.csv]\ndirectory = 5\n", "[archive.csv], key directory", "a path, in quotes"),
        (GOOD + PMU + "[archive.csv.row.PUM]\ntime_digits = 16\n", "[archive.csv.row.PUM]", "has PMU"),
        (GOOD + PMU + "alarms.FREQ = 5\n", '[[device]] "PMU", key alarms.FREQ', "must be a table"),
        ("Info, prose\nPMU IP, 192.168.0.20\n", "is not TOML", "iocs check"),
        ("not toml", "", "is not TOML"),
        (GOOD + GOOD, "", "is not TOML"),
    ],
)
def test_a_mistake_is_told_with_table_and_key(tmp_path, text, where, what):
    told = mistakes(tmp_path, text)
    assert any(where in line and what in line for line in told), told


def test_all_mistakes_are_told_at_once_and_each_once(tmp_path):
    told = mistakes(tmp_path, '[site]\nprefix = "lab"\n[archive.csv]\nx = 1\n' + PMU.replace("= 1", "= 0") + "y = 2\n")
    places = ["[site], key name", "[site], key prefix", "[archive.csv], key x"]
    places += ['[[device]] "PMU", key idcode', '[[device]] "PMU", key y']
    assert len(told) == 5 and all(any(line.startswith(place) for line in told) for place in places), told


def test_files_that_cannot_be_read(tmp_path):
    for path in (tmp_path / "absent.toml", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read"):
            load(path)
    path = tmp_path / "latin.toml"
    path.write_bytes(b'[site]\nname = "\xe4"\n')
    with pytest.raises(ConfigError, match=r"not UTF-8.*line 2 has the byte 0xe4"):
        load(path)


def test_a_byte_order_mark_and_line_ends_of_windows_do_no_harm(tmp_path):
    path = tmp_path / "site.toml"
    path.write_bytes(b"\xef\xbb\xbf" + (GOOD + PMU).replace("\n", "\r\n").encode())
    assert load(path, kinds=True).name == "x"


def test_relative_paths_count_from_the_site_file(tmp_path):
    text = GOOD + 'state_dir = "s"\n' + PMU + 'record = "raw.bin"\n[archive.csv]\ndirectory = "/abs"\n'
    text += '[archive.csv.row."PMU:ROW"]\ndirectory = "rows"\n'
    site = load(write(tmp_path, text), kinds=True)
    assert site.state_dir == tmp_path / "s"
    assert site.devices[0].settings.record == tmp_path / "raw.bin"
    assert site.archive.csv.directory == Path("/abs")
    assert site.archive.csv.for_row("PMU:ROW").directory == tmp_path / "rows"


def test_a_row_s_own_table_goes_over_the_general_one(tmp_path):
    text = GOOD + '[archive.csv]\ntime_format = "ns"\nvalue_digits = "repr"\nwrite_every = 2\n'
    text += "[archive.csv.row.PMU]\nnew_file_every = 60\n[archive.csv.row.'GAS:ROW']\nvalue_digits = 3\n"
    csv = load(write(tmp_path, text + PMU + PMU.replace("PMU", "GAS"))).archive.csv
    pmu, gas, other = csv.for_row("PMU:ROW"), csv.for_row("GAS:ROW"), csv.for_row("GAS:FAST")
    assert (pmu.time_format, pmu.value_digits, pmu.new_file_every) == ("ns", "repr", 60)
    assert (gas.time_format, gas.value_digits, gas.new_file_every) == ("ns", 3, 3600)
    assert other == csv


def test_kinds_are_only_imported_where_asked_for(tmp_path):
    site = load(write(tmp_path, GOOD + PMU.replace('"pmu"', '"no_such_module:Foo"')))
    assert site.devices == (config.Device("PMU", "no_such_module:Foo"),)


def test_a_dotted_type_is_a_kind(tmp_path):
    site = load(write(tmp_path, GOOD + PMU.replace('"pmu"', '"iocs.pmu:PMU"')), kinds=True)
    assert site.devices[0].kind.__name__ == "PMU"


def test_the_schema_accepts_the_example_and_refuses_what_load_refuses(tmp_path):
    jsonschema = pytest.importorskip("jsonschema")
    import tomllib

    schema = json.loads(config.schema())
    validator = jsonschema.validators.validator_for(schema)
    validator.check_schema(schema)
    check = validator(schema)
    example = tomllib.loads((ROOT / "site.example.toml").read_text(encoding="utf-8"))
    check.validate(example)
    check.validate(tomllib.loads(GOOD + PMU.replace('"pmu"', '"mylab.foo:Foo"')))
    for text in (GOOD + "x = 1\n", GOOD + PMU + "x = 1\n", GOOD + PMU.replace("idcode = 1", "idcode = 0")):
        assert not check.is_valid(tomllib.loads(text)), text


# the command


def check(path):
    return subprocess.run(
        [sys.executable, "-m", "iocs", "check", str(path)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )


def test_check_says_that_the_example_is_good():
    done = check(ROOT / "site.example.toml")
    assert (done.returncode, done.stderr) == (0, "") and "no mistakes" in done.stdout


def test_check_prints_every_mistake_and_ends_with_2(tmp_path):
    path = write(tmp_path, GOOD + PMU.replace("= 1", "= 0") + "x = 1\n")
    done = check(path)
    assert (done.returncode, done.stdout) == (2, "")
    first, second = sorted(done.stderr.splitlines())
    assert first.startswith(f'{path}: [[device]] "PMU", key idcode: ') and "key x: no such key" in second


def test_check_judges_limits_and_alarms_by_the_device_s_signals(tmp_path):
    done = check(write(tmp_path, GOOD + PMU + "alarms.TQ = { high = 1 }\n"))
    assert done.returncode == 2 and '[[device]] "PMU"' in done.stderr and "key alarms.TQ" in done.stderr, done.stderr


def test_check_tells_alarms_that_fit_no_signal(tmp_path):
    done = check(write(tmp_path, GOOD + PMU + "alarms.FRQ = { high = 1 }\nalarms.FREQ = { high = 51 }\n"))
    assert done.returncode == 0 and "fit none of" in done.stderr and done.stderr.endswith(": FRQ\n"), done.stderr
