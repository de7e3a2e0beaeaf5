"""python -m edm2lite is the command edm2lite."""

import sys

from edm2lite.cli import entry

sys.exit(entry())
