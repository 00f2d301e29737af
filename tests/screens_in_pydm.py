"""Draws the waveforms of a screen with PyDM, off screen: `python tests/screens_in_pydm.py screens/SCOPE.bob scope.png`.

cs-web-lib draws a dozen points of a waveform; PyDM (pip install pydm PySide6-Essentials pyepics) draws all, over their
times. It reads no .bob files, so that the PVs of the first XY plot are taken from it. The IOC must be running.
"""

import os
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from pydm import PyDMApplication
from pydm.widgets import PyDMWaveformPlot
from qtpy.QtCore import QTimer
from qtpy.QtGui import QColor

PATIENCE = 4000  # ms for values to come


def main(screen: Path, picture: Path) -> None:
    """Draw the first XY plot; prints the points of each curve."""
    application = PyDMApplication(use_main_window=False)
    plot = PyDMWaveformPlot()
    plot.resize(900, 600)
    plot.setShowLegend(True)
    drawn = next(widget for widget in ET.parse(screen).iter("widget") if widget.get("type") == "xyplot")
    for trace in drawn.iter("trace"):
        y, x = (f"ca://{trace.findtext(axis, '').replace('$(P=LAB:)', 'LAB:')}" for axis in ("y_pv", "x_pv"))
        color = trace.find("color/color")
        shade = QColor(*(int(color.get(part)) for part in ("red", "green", "blue")))
        plot.addChannel(y, x, name=trace.findtext("name"), color=shade, lineWidth=2)
    plot.show()

    def look() -> None:
        for curve in plot._curves:
            x, y = curve.getData()
            points = (
                "nothing" if y is None else f"{len(y)} points, {min(y):g} to {max(y):g} over {min(x):g} to {max(x):g}"
            )
            print(curve.name(), points, flush=True)
        plot.grab().save(str(picture))
        os._exit(0)  # an orderly end of PySide6 6.12 with pyepics is a crash

    QTimer.singleShot(PATIENCE, look)
    application.exec_()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
