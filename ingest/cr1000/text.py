"""Who turns columns to text: pyarrow where it is installed, else Python."""

from ingest.cr1000.python_text import PythonText

try:
    from ingest.cr1000.arrow_text import ArrowText
except ImportError:  # an extra
    ArrowText = PythonText

Text = PythonText | ArrowText
TEXT: Text = ArrowText()
