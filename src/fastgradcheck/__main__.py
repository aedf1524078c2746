"""``python -m fastgradcheck``: the same as the command ``fastgradcheck``."""

from __future__ import annotations

import sys

from fastgradcheck.cli.main import main

sys.exit(main())
