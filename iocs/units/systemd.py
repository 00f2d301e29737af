"""The processes of a site as systemd units, its account and its folders (pure).

systemd.service(5), systemd.exec(5), systemd.resource-control(5), sysusers.d(5), tmpfiles.d(5); systemd 247 or newer.
"""

import re
from collections.abc import Sequence

from iocs.config import Site
from iocs.units.processes import Process, site_word

HIDDEN = ("/home/", "/root/", "/tmp/")  # of which the services see little or nothing, by ProtectHome and PrivateTmp
WATCHDOG = 60  # s without a sign of life from the event loop

# Left out, and why: MemoryDenyWriteExecute (vendor libraries by ctypes), PrivateUsers and PrivateNetwork (IOCs of a
# site know each other by sockets of this host), ProcSubset=pid (an IOC tells of the host's load and memory).
FENCES = """\
NoNewPrivileges=yes
CapabilityBoundingSet={capabilities}
AmbientCapabilities={capabilities}
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
LockPersonality=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
UMask=0027
"""
# DevicePolicy says it by itself, but ProtectClock= changes what is the default (systemd.exec(5)).
PORTS = """\
DevicePolicy=closed
DeviceAllow=char-ttyACM rw
DeviceAllow=char-ttyUSB rw
DeviceAllow=char-ttyS rw
SupplementaryGroups=dialout
"""
NO_PORTS = "PrivateDevices=yes\n"


def unit(site: Site, process: Process, *, python: str, user: str) -> str:
    """Give the text of a process's .service file.

    Args:
        site: whose it is.
        process: what is run.
        python: path of the interpreter.
        user: the account that it runs as.
    """
    word = site_word(site)
    command = " ".join(_word(each, command=True) for each in (python, "-m", *process.arguments))
    lines = [
        "[Unit]",
        f"Description={_text(f'{site.name}: {process.about}')}",
        f"PartOf={word}.target",
        "After=network.target",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "Type=notify",
        "NotifyAccess=main",
        f"ExecStart={command}",
        *(["ExecReload=/bin/kill -HUP $MAINPID"] if process.reloads else []),
        "Restart=always",
        "RestartSec=5",
        f"WatchdogSec={WATCHDOG}",
        "TimeoutStartSec=300",
        f"TimeoutStopSec={process.stop_within:.0f}",
        f"User={user}",
        f"Group={user}",
        f"WorkingDirectory={_text(str(site.directory))}",
        "Environment=PYTHONFAULTHANDLER=1",
        f"EnvironmentFile=-/etc/countinghouse/{word}.env",
        f"EnvironmentFile=-/etc/countinghouse/{process.name}.env",
        *(f"ReadWritePaths={_word(f'-{folder}')}" for folder in process.folders),
    ]
    fences = FENCES.format(capabilities="CAP_NET_BIND_SERVICE" if process.low_port else "")
    install = f"\n[Install]\nWantedBy={word}.target\n"
    return "\n".join(lines) + "\n" + fences + (PORTS if process.serial else NO_PORTS) + install


def target(site: Site) -> str:
    """Give the text of the .target file by which all are started and stopped."""
    return f"[Unit]\nDescription={_text(site.name)}\n\n[Install]\nWantedBy=multi-user.target\n"


def sysusers(site: Site, user: str) -> str:
    """Give the line of sysusers.d that makes the account: no password, no shell, no home."""
    name = site.name.replace("\\", "\\\\").replace('"', '\\"')
    return f'u {user} - "{_text(name)}"\n'


def tmpfiles(processes: Sequence[Process], user: str) -> str:
    """Give the lines of tmpfiles.d that make the folders which are written."""
    folders = dict.fromkeys(folder for process in processes for folder in process.folders)
    return "".join(f"d {_word(str(folder))} 0750 {user} {user} -\n" for folder in folders)


def _text(text: str) -> str:
    """Give what stands after a '=' as a whole."""
    return "".join(each if each.isprintable() else " " for each in text).replace("%", "%%")


def _word(text: str, *, command: bool = False) -> str:
    """Give one word of several, quoted where needed; of a command also without variables (systemd.syntax(7))."""
    text = text.replace("%", "%%")
    if command:
        text = text.replace("$", "$$")
    if re.fullmatch(r"[\w@%+=:,./$-]+", text, re.ASCII):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
