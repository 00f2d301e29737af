"""A C++ IOC (epicscorelibs) whose records count: `python -m tests.benchmarks.counting_soft_ioc PREFIX PVS PERIOD`.

PERIOD in s, one of 1 .1 .05 .02 .01 .005 .002 .001. `ready` when it serves; it ends when stdin is closed.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

FAST = (".05", ".02", ".01", ".005", ".002", ".001")  # periods that an IOC does not have by default


def main() -> None:
    from epicscorelibs import ioc, path

    prefix, number, period = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    with tempfile.TemporaryDirectory() as folder:
        definitions = Path(folder) / "dbd"
        shutil.copytree(Path(path.base_path) / "dbd", definitions)
        menu = definitions / "menuScan.dbd"
        text = menu.read_text()
        more = "".join(f'\tchoice(menuScan{p.replace(".", "_p")},"{p} second")\n' for p in FAST)
        menu.write_text(text[: text.rindex("}")] + more + text[text.rindex("}") :])
        record = 'record(calc,"%s%d"){field(CALC,"VAL+1")field(SCAN,"%s second")field(MDEL,"-1")field(ADEL,"-1")}\n'
        database = Path(folder) / "counting.db"
        database.write_text("".join(record % (prefix, n, period) for n in range(number)))
        ioc.dbLoadDatabase(b"base.dbd", str(definitions).encode(), None)
        ioc.iocshRegisterCommon()
        ioc.registerRecordDeviceDriver(ioc.pdbbase)
        ioc.dbLoadRecords(str(database).encode(), None)
        ioc.iocInit()
        print("ready", flush=True)
        sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
