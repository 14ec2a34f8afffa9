"""`python -m jaxml.cli`."""

import sys

from jaxml.cli.main import main

sys.exit(main())
