"""The comparison is not installed. Last on the path: an installed channel_layers stays the one under test."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path += [str(HERE.parents[1]), str(HERE)]
