"""Drivers: each talks to one kind of box. They know bytes, physical units and errors, and nothing of EPICS."""
