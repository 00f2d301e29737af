"""EPICS' own C client (libca, by pyepics) as a process with an environment of its own: a witness we did not write."""

import json
import subprocess
import sys
from pathlib import Path


class Libca:
    """Asks a libca process: `read`, `put`, `monitor`, `events`, `connected`."""

    def __init__(self, environment):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.libca"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
            cwd=Path(__file__).parents[1],  # wherever the test stands
        )

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.terminate()
        self._process.wait()

    def _ask(self, **request):
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise AssertionError(f"libca, {request}: {answer['error']}")
        return answer["result"]

    def read(self, pv):
        """Give value, severity, status, posixseconds, nanoseconds, type, units, precision, limits ..."""
        return self._ask(do="read", pv=pv)

    def put(self, pv, value):
        """Put and wait for the callback (libca's Python face does not tell whether it succeeded)."""
        return self._ask(do="put", pv=pv, value=value)

    def begin(self, pv, value):
        """Put without waiting for anything."""
        return self._ask(do="begin", pv=pv, value=value)

    def monitor(self, pv):
        """Begin to gather the events of a PV."""
        return self._ask(do="monitor", pv=pv)

    def events(self, pv):
        """Give the events so far: [value, severity, status, type]; "connected" / "disconnected" are among them."""
        return self._ask(do="events", pv=pv)


def serve() -> None:
    """Answer the questions that come by stdin."""
    import epics

    pvs, events = {}, {}

    def plain(value):
        if isinstance(value, bytes):
            return value.decode()
        return value.tolist() if hasattr(value, "tolist") else value

    def find(name):
        if name not in pvs:
            pvs[name] = epics.PV(name, auto_monitor=False, form="time")
        if not pvs[name].wait_for_connection(10):
            raise TimeoutError(f"{name} is not found")
        return pvs[name]

    def read(name):
        pv = find(name)
        data = pv.get_with_metadata(form="time", timeout=5)
        if data is None:
            raise TimeoutError(f"{name} does not answer")
        text = pv.get(as_string=True, timeout=5) if pv.type == "time_char" or pv.count > 1 else None
        control = pv.get_ctrlvars(timeout=5) or {}
        answer = {**control, **data, "type": pv.type, "text": text, "count": pv.count}  # value and alarm of one reading
        answer["write"] = pv.write_access
        return {key: plain(value) for key, value in answer.items()}

    def monitor(name):
        gathered = events.setdefault(name, [])

        def on_value(value=None, severity=None, status=None, type=None, **rest):
            gathered.append([plain(value), severity, status, type])

        def on_connection(conn=None, **rest):
            gathered.append("connected" if conn else "disconnected")

        pvs["monitor " + name] = epics.PV(
            name, auto_monitor=True, form="time", callback=on_value, connection_callback=on_connection
        )

    for line in sys.stdin:
        request = json.loads(line)
        try:
            match request["do"]:
                case "read":
                    result = read(request["pv"])
                case "put":
                    result = find(request["pv"]).put(request["value"], wait=True, timeout=10)
                case "begin":
                    result = find(request["pv"]).put(request["value"])
                    epics.ca.flush_io()
                case "monitor":
                    result = monitor(request["pv"])
                case "events":
                    epics.ca.poll(0.01, 1.0)
                    result = events[request["pv"]]
            print(json.dumps({"result": result}), flush=True)
        except Exception as error:  # noqa: BLE001  # told to whoever asked
            print(json.dumps({"error": repr(error)}), flush=True)


if __name__ == "__main__":
    serve()
