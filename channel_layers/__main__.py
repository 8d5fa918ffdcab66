"""``python -m channel_layers``: the command line."""

import sys

from .cli import main

sys.exit(main())
