"""python -m healthivert is the healthivert command."""

import sys

from healthivert.cli import main

sys.exit(main())
