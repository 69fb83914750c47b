"""``python -m lookout``."""

from .cli import main

raise SystemExit(main())
