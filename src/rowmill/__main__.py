"""`python -m rowmill` is the `rowmill` command."""

import sys

from rowmill.flows.cli import main

sys.exit(main())
