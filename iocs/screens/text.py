"""How wide text is, without a font at hand (pure)."""

import math

from iocs.screens.bob import PLAIN, Font

# Advance widths in thousandths of the font's size, of Liberation Sans (those of Arial), the largest of each class.
_CLASSES = (
    ("ijl|'` ", 278),
    ('ftrI.,:;!/\\()[]-"', 355),
    ("mMw%", 890),
    ("W@", 1015),
    ("ABCDEFGHKNOPQRSTUVXYZ&+<=>~", 780),
)
_WIDTHS = {character: width for characters, width in _CLASSES for character in characters}
_OTHER = 560
MARGIN = 1.12  # hosts without Liberation Sans take a wider font


def width(text: str, font: Font = PLAIN) -> int:
    """Give the pixels that a line of text needs."""
    bold = 1.07 if font.style == "BOLD" else 1.0
    thousandths = sum(_WIDTHS.get(character, _OTHER) for character in text)
    return math.ceil(thousandths * font.size / 1000 * bold * MARGIN)
