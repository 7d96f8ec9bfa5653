"""The command `reve-middleware`.

Reading order: group.py (the list of commands, and how each ends), then a file for each command. What they share is in
basics.py (without Click) and options.py (with it); explain.py puts the outcome of a push into words; site.py is the
demo's site, which tests use as well. Click is an extra, so neither this file nor basics.py nor site.py imports it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from .basics import NAME, DemoError
from .site import DemoSite, demo_site

__all__ = ["DemoError", "DemoSite", "demo_site", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0; 1 where not everything was delivered; 2 when it could not be
    done."""
    try:
        from .group import run
    except ModuleNotFoundError as missing:
        if missing.name != "click":
            raise
        sys.stderr.write(f"{NAME}: click is not installed: pip install '{NAME}[cli]'\n")
        return 2
    return run(argv)
