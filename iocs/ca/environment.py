"""What the environment says to Channel Access: its mistakes, each with its cure."""

import os

import caproto as ca

from iocs.ca.hosts import resolve
from iocs.config import Finding


def server_port() -> int:
    """Give the port that a server takes if it is free.

    Raises:
        ValueError: the environment names no port.
    """
    given = os.environ.get("EPICS_CAS_SERVER_PORT") or ca.get_environment_variables()["EPICS_CA_SERVER_PORT"]
    return int(given)


def findings() -> list[Finding]:
    """Say what EPICS_CA_* and EPICS_CAS_* have to say. Host names are looked up."""
    try:
        ca.get_environment_variables()
        addresses = ca.get_client_address_list()
        port = server_port()
    except (ca.CaprotoError, ValueError) as error:
        return [Finding(False, f"the EPICS variables of the environment cannot be read: {error}; mend or unset it")]
    found = []
    if not 0 < port < 65536:
        found.append(
            Finding(False, f"the EPICS server port {port} is not within 1..65535; unset EPICS_CAS_SERVER_PORT")
        )
    for host, _ in addresses:
        try:
            resolve(host)
        except OSError as error:
            found.append(
                Finding(
                    False,
                    f"EPICS_CA_ADDR_LIST: host {host!r} has no address ({error.strerror or error}); write its number",
                )
            )
    asked = int(ca.get_environment_variables()["EPICS_CA_SERVER_PORT"])
    if asked != port:
        found.append(
            Finding(
                False,
                f"servers listen on port {port} (EPICS_CAS_SERVER_PORT), clients with this environment ask at {asked} "
                "(EPICS_CA_SERVER_PORT); give both the same",
            )
        )
    longest = os.environ.get("EPICS_CA_MAX_ARRAY_BYTES", "")
    if longest and not longest.isdigit():
        found.append(Finding(False, f"EPICS_CA_MAX_ARRAY_BYTES is {longest!r}, no number of bytes; mend or unset it"))
    if found:
        return found
    names = sorted(name for name, value in os.environ.items() if name.startswith(("EPICS_CA_", "EPICS_CAS_")) and value)
    told = ", ".join(f"{name}={os.environ[name]}" for name in names) or "none is set, and none is needed on this host"
    return [Finding(True, f"EPICS variables: {told}")]
