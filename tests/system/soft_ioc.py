"""A C++ softIoc, from the PyPI package epicscorelibs: python soft_ioc.py FILE.db"""

import os
import sys

import epicscorelibs.ioc as ioc

ioc.dbLoadDatabase(b"base.dbd", ioc.DEFAULT_DBD_PATH.encode(), None)
ioc.iocshRegisterCommon()
ioc.registerRecordDeviceDriver(ioc.pdbbase)
ioc.dbLoadRecords(sys.argv[1].encode(), None)
ioc.iocInit()
print("ready", flush=True)
sys.stdin.read()
os._exit(0)
