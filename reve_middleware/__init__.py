"""Tells a REVE Chat bot who is logged in to a website.

Reading order: exchange.py is the product, quiet.py its shortcut; then handover.py (who and what), capture.py, inject.py
and bridge.py; then mailbox.py, gate.py, sender.py and webhook.py (delivery). asgi.py and wsgi.py only carry
messages to and from the core.
"""

from __future__ import annotations

from .asgi import ReveMiddleware
from .bot import Bot
from .errors import ProfileError, ReveError, SettingsError
from .routes import disabled, enabled
from .visitor import identify, script_tag, sign_out
from .worker import NotDelivered, adeliver, deliver
from .wsgi import ReveWSGIMiddleware

__version__ = "0.1.0"

__all__ = [
    "Bot",
    "NotDelivered",
    "ProfileError",
    "ReveError",
    "ReveMiddleware",
    "ReveWSGIMiddleware",
    "SettingsError",
    "__version__",
    "adeliver",
    "deliver",
    "disabled",
    "enabled",
    "identify",
    "script_tag",
    "sign_out",
]
