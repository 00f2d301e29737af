"""A simulated thermostat: `python -m tests.newbox.simulator [--port N]`.

Each line of JSON on stdin sets attributes, faults too. Its wire is told on stdout: `connected`, `< QUESTION`, `closed`.
"""

import argparse
import asyncio
import json
import sys


class Thermostat:
    def __init__(self):
        self.name = "THERMO 7"
        self.temperatures = [290.0, 300.0]
        self.setpoint = 295.0
        self.mode = 1
        self.mute = False
        self.garble = False
        self.refuse = False

    def answer(self, question: str) -> str:
        match question.split():
            case ["IDN?"]:
                return f"{self.name} {len(self.temperatures)}"
            case ["READ?"]:
                return " ".join(map(str, (*self.temperatures, self.setpoint, self.mode)))
            case _ if self.refuse:
                return "ERR locked at the panel"
            case ["SETPOINT", value]:
                self.setpoint = float(value)
                return str(self.setpoint)
            case ["MODE", value]:
                self.mode = int(value)
                return str(self.mode)
        return "ERR what?"


async def main(port: int) -> None:
    box = Thermostat()

    async def serve(reader, writer):
        print("connected", flush=True)
        while question := await reader.readline():
            text = question.decode().strip()
            if text != "READ?":
                print("<", text, flush=True)
            if not box.mute:
                writer.write(b"\xff\xfe\n" if box.garble else box.answer(text).encode() + b"\n")
        print("closed", flush=True)
        writer.close()

    def command():
        if line := sys.stdin.readline():
            vars(box).update(json.loads(line))
            print("set", line.strip(), flush=True)
        else:
            asyncio.get_running_loop().remove_reader(sys.stdin)

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    if not sys.stdin.closed and sys.stdin.readable():
        try:
            asyncio.get_running_loop().add_reader(sys.stdin, command)
        except PermissionError:
            pass  # /dev/null cannot be waited for
    print(f"listening on tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    asyncio.run(main(parser.parse_args().port))
