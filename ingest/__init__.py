"""Ingest: logger files, calibrated by when and by which sensor."""
