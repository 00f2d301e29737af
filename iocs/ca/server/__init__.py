"""The Channel Access server: signals served as PVs.

caproto keeps sockets, tasks, hooks, filters and status codes; messages, subscriptions and encoding are our own, so that
no client can hold up another one. Whoever serves says `serve`, `post`, `withdraw`.
"""

from iocs.ca.server.circuit import Client
from iocs.ca.server.context import Counts
from iocs.ca.server.limits import Limits
from iocs.ca.server.pv import ASKED
from iocs.ca.server.server import Server

__all__ = ["ASKED", "Client", "Counts", "Limits", "Server"]
