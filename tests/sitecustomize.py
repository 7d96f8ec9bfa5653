"""What the hundreds of interpreters that tests start do first: Python imports it where it finds it in PYTHONPATH.

httpx imports its own command-line program where it can, and click, rich and pygments with it: a third of its import.
Sites rarely have all of them; here something else brings them, so every server would pay for it.
"""

import sys

sys.modules["httpx._main"] = None  # type: ignore[assignment]
