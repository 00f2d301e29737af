"""Input/output controllers: they turn the drivers' boxes into EPICS process variables."""
