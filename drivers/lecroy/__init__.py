"""Teledyne LeCroy oscilloscopes: `wavedesc` reads and writes their waveform blocks and .trc files (pure)."""
