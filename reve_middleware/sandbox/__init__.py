"""A stand-in for REVE Chat on your own machine: widget, bot, webhook, and a page for its operator.

It knows nothing of the rest of `reve_middleware`, so that it is wrong in its own ways. Reading order:
`bot.py` (what the bot remembers and says), `webhook.py` (what it accepts), `misbehaviour.py` (how it goes wrong
when told to), `standin.py` (all of them behind one lock), `routes.py` (webhook and widget over HTTP),
`operator_routes.py` (the page for who watches). `shop.py` is a small
website to try it on; `serving.py` runs either in a thread.
"""

from .misbehaviour import Misbehaviour
from .records import Pushed, Received
from .standin import Sandbox

__all__ = ["Misbehaviour", "Pushed", "Received", "Sandbox"]
