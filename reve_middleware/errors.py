"""What this package raises.

    ReveError
    ├── SettingsError (also a ValueError)   a keyword is wrong; raised when the object is built
    ├── ProfileError  (also a ValueError)   a profile cannot be sent; never reaches the application
    └── NotDelivered                        a task queue's worker is to try a push again later (worker.py)

No message in here ever carries a secret or a profile's value.
"""

from __future__ import annotations


class ReveError(Exception):
    """The root of everything this package raises."""


class SettingsError(ReveError, ValueError):
    """A keyword of the middleware, or of a `Bot`, is missing or wrong."""


class ProfileError(ReveError, ValueError):
    """A profile is not what can be sent; the text names the field, never its value."""
