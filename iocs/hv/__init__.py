"""High voltage: CAEN N1470 family supplies as PVs, with soft limits, a trip latch, and puts that are read back."""

from iocs.hv.device import HV

__all__ = ["HV"]
