"""``python -m tenantry`` is the command ``tenantry``."""

from .cli import main

raise SystemExit(main())
