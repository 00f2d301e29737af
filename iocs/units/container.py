"""The same processes in containers: one image, a container for each (pure)."""

import json
import shlex
from collections.abc import Sequence

from iocs.config import Site
from iocs.units.processes import Process

TEXT = """\
# One image, a container for each process. In the folder of Countinghouse's source:
#   podman build -t countinghouse -f THIS_FILE .
# Then each of these; they find each other through the host's network, and start in any order:
{runs}#
# {site} is mounted where it is, so that paths hold. What is written there must belong to 1000:1000;
# rootless podman sees to it by --userns=keep-id:uid=1000,gid=1000. Secrets: --env-file.
# Under a systemd unit also --sdnotify=container. NAME is the serial port's.

FROM docker.io/library/python:3.11-slim
WORKDIR /opt/countinghouse
COPY pyproject.toml README.md LICENSE ./
COPY drivers drivers
COPY iocs iocs
COPY archiver archiver
COPY ingest ingest
RUN pip install --no-cache-dir {package}
ENV PYTHONFAULTHANDLER=1 PYTHONUNBUFFERED=1
USER 1000:1000
WORKDIR {work}
ENTRYPOINT ["python", "-m"]
CMD {command}
"""


def containerfile(site: Site, processes: Sequence[Process]) -> str:
    """Give the text of the Containerfile, with the commands that run each process in its head.

    Args:
        site: whose it is.
        processes: all of them.
    """
    folder = str(site.directory)
    extras = {"web"} | {"scope", "cr1000"} & {device.type for device in site.devices}
    if site.archive.influx is not None and site.archive.influx.version == 2:
        extras.add("influx")
    if any(str(getattr(device.settings, "link", "")).startswith("caen://") for device in site.devices):
        extras.add("caen")
    return TEXT.format(
        runs="".join(_run(folder, process) for process in processes),
        site=folder,
        package=f"'.[{','.join(sorted(extras))}]'",
        work=folder.replace("$", "\\$"),
        command=json.dumps(list(processes[0].arguments)),
    )


def _run(folder: str, process: Process) -> str:
    """Give the lines of comment that run a process."""
    mounts = [f"--volume={folder}:{folder}:ro", *(f"--volume={each}:{each}" for each in process.folders)]
    options = ["--network=host", "--read-only", "--cap-drop=all", "--security-opt=no-new-privileges"]
    options += ["--restart=always", f"--stop-timeout={process.stop_within:.0f}"]
    options += ["--device=/dev/serial/by-id/NAME", "--group-add=dialout"] if process.serial else []
    words = ["podman", "run", "-d", f"--name={process.name}", *options, *mounts, "countinghouse", *process.arguments]
    return f"#   {shlex.join(words)}\n"
