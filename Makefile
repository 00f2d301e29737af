# Each target does its own set-up in .venv, from a fresh clone, without root.
PYTHON  ?= python3
BIN     := .venv/bin
SITE    ?= site.example.toml
APART   ?= HV
PORT    ?= 5164
MINUTES ?= 10

.PHONY: venv influxd run test check bench soak pictures clean

venv: .venv/.installed

.venv/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[pcap,scope,watch,web]'
	@touch $@

.venv/.tools: .venv/.installed
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

.venv/.bench: .venv/.tools
	$(BIN)/pip install --quiet --editable '.[bench]'
	@touch $@

# A real InfluxDB 1 for the tests of the archiver: Debian's package, unpacked and not installed.
influxd: .cache/influxdb/usr/bin/influxd

.cache/influxdb/usr/bin/influxd:
	mkdir -p .cache/influxdb
	cd .cache/influxdb && apt-get download influxdb && dpkg-deb -x influxdb_*.deb . && rm influxdb_*.deb

# The whole example lab on simulators: IOCs (HV in a process of its own; with SITE=... without it APART=), archiver, page.
run: .venv/.installed
	@trap 'kill $$ioc $$apart $$archiver $$page 2>/dev/null; wait' EXIT; trap 'exit 0' INT TERM; \
	$(BIN)/python -m iocs run $(SITE) --sim $(if $(APART),--except $(APART) --port $(PORT)) & ioc=$$!; \
	$(if $(APART),$(BIN)/python -m iocs run $(SITE) --sim --only $(APART) & apart=$$!;) \
	$(BIN)/python -m archiver run $(SITE) & archiver=$$!; \
	$(BIN)/python -m archiver serve $(SITE) & page=$$!; \
	echo "look with: $(BIN)/caproto-monitor LAB:PMU:FREQ       stop with Ctrl-C"; \
	wait $$ioc

check: .venv/.tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

test: check
	$(BIN)/python -m pytest -n 4 --dist worksteal -m "not alone" $(TESTS)
	$(BIN)/python -m pytest -m alone $(TESTS)

# ca_bench and archiver_bench start these
SERVERS := %/archiver_peers.py %/ca_server.py %/ca_peers.py %/counting_soft_ioc.py

bench: .venv/.bench
	@for file in $(filter-out $(SERVERS),$(wildcard tests/benchmarks/*.py)); do echo "== $$file"; $(BIN)/python -m $$(echo $${file%.py} | tr / .) || exit 1; done

# The pictures of the README, of the example lab; needs chromium, for the screen npm too (apt-get install chromium npm).
pictures: .venv/.tools
	$(BIN)/python docs/pictures.py
	$(BIN)/python -m tests.screens_in_browser.draw -o docs/pictures/screens --only HV

soak: .venv/.tools
	$(BIN)/python -m tests.soak.pmu_stream --minutes $(MINUTES)
	$(BIN)/python -m tests.soak.pmu_stream --minutes $(MINUTES) --udp
	$(BIN)/python -m tests.soak.scope_runs --minutes $(MINUTES)

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis *.egg-info
