"""`python -m jaxml`."""

import sys

from jaxml.cli import main

sys.exit(main())
