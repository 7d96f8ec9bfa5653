"""The stand-in itself: the bot's memory and the webhook's rules behind one lock, for any thread."""

import json
import secrets
import threading
import time
from collections import deque
from collections.abc import Mapping
from itertools import islice
from uuid import uuid4

from starlette.applications import Starlette

from . import routes, webhook
from .bot import Conversation
from .misbehaviour import Held, Misbehaviour, retry_after_header
from .records import Overview, Pushed, Received, View

MAX_KEPT = 1000
"""Webhook requests, pushes and conversations kept; the oldest go first."""


class Sandbox:
    """One bot with its webhook, the widget that talks to it, and the operator's page.

    `app` is the ASGI application. `function` is the page's function that the bot calls when a conversation
    begins: `chatbot.<function>({session_id, chatbot_id})`. `webhook_id` stands in the webhook's path. `patience` is
    how many seconds the bot waits for somebody to tell it who is there before it says its first words.
    """

    def __init__(
        self,
        *,
        chatbot_id: str = "shop-bot",
        token: str | None = None,
        webhook_id: str | None = None,
        function: str = "identify",
        account_id: str = "sandbox-account",
        patience: float = 0.5,
    ) -> None:
        self.chatbot_id = chatbot_id
        self.function = function
        self.account_id = account_id
        self.patience = patience
        self._uuid = webhook_id or str(uuid4())
        self._token = token or secrets.token_urlsafe(24)
        self._changed = threading.Condition()
        self._version = 0
        self._requests: deque[Received] = deque(maxlen=MAX_KEPT)
        self._pushes: deque[Pushed] = deque(maxlen=MAX_KEPT)
        self._accepted = 0
        self._received = 0
        self._conversations: dict[str, Conversation] = {}
        self._misbehaviour: Misbehaviour | None = None
        self.held = Held()
        self.app: Starlette = routes.build(self)

    def __repr__(self) -> str:
        return f"Sandbox(chatbot_id={self.chatbot_id!r})"

    # -- for tests, and for whoever sets it up ------------------------------------------------------

    @property
    def token(self) -> str:
        """The token that is valid now."""
        with self._changed:
            return self._token

    def rotate_token(self) -> str:
        """Make a new token and return it; the old one is refused from now on."""
        with self._changed:
            self._token = secrets.token_urlsafe(24)
            self._note_change()
            return self._token

    def misbehave(
        self,
        *,
        status: int | None = None,
        retry_after: str | int | None = None,
        seconds: float = 0.0,
        times: int | None = None,
    ) -> None:
        """Let the webhook go wrong from now on: for the next `times` requests, or until `behave()`.

        With a `status` (200 to 599) that is the answer, with `Retry-After` if given; the request is recorded with
        the reason, and the bot does not hear of it. Without one the request is taken as ever. Either answer is
        held back for `seconds` (0 to 60), or until the server stops, or the caller has gone; a bot that took the
        request has heard of it by then. `ValueError` says what would be right.
        """
        header = retry_after_header(retry_after)
        misbehaviour = Misbehaviour(status=status, retry_after=header, seconds=seconds, times=times)
        with self._changed:
            self._misbehaviour = misbehaviour
            self._note_change()

    def behave(self) -> None:
        """Let the webhook answer rightly again, and send the answers that are held back."""
        with self._changed:
            self._misbehaviour = None
            self._note_change()
        self.held.let_go()

    @property
    def misbehaviour(self) -> Misbehaviour | None:
        """How the webhook goes wrong now; its `times` is what is left of them."""
        with self._changed:
            return self._misbehaviour

    @property
    def webhook_path(self) -> str:
        """The path of the webhook, without an endpoint."""
        return f"{webhook.PREFIX}/{self._uuid}"

    @property
    def requests(self) -> list[Received]:
        """Every request that reached the webhook, oldest first (the last 1000)."""
        with self._changed:
            return list(self._requests)

    @property
    def pushes(self) -> list[Pushed]:
        """Every push that was accepted, oldest first (the last 1000)."""
        with self._changed:
            return list(self._pushes)

    def wait_for_pushes(self, count: int, timeout: float = 5.0) -> list[Pushed]:
        """Wait until `count` pushes have been accepted in all; `TimeoutError` after `timeout` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._accepted >= count, timeout):
                answers = [request.status for request in self._requests]
                raise TimeoutError(
                    f"{self._accepted} of {count} pushes within {timeout:g} s; the webhook answered {answers}"
                )
            return list(self._pushes)

    def knows(self, session_id: str) -> dict[str, object] | None:
        """What the bot knows in this session, or `None` if it never heard of it."""
        with self._changed:
            conversation = self._conversations.get(session_id)
            return dict(conversation.knows) if conversation else None

    def snippet(self, base_url: str) -> str:
        """The HTML a site puts into its head to get the widget; `base_url` is where `app` is served."""
        source = f"{base_url.rstrip('/')}/widget/scripts/new-livechat.js?"
        return f"""<script>
(function (page) {{
  var queue = page.$_REVECHAT_API = page.$_REVECHAT_API || function (fn) {{ queue._.push(fn); }};
  queue._ = queue._ || [];
  page.__revechat_account = {_in_script(self.account_id)};
  page.__revechat_version = 2;
  var widget = document.createElement("script");
  widget.async = true;
  widget.src = {_in_script(source)} + Date.now();
  document.head.appendChild(widget);
}})(window);
</script>"""

    # -- for the routes --------------------------------------------------------------------------

    def receive(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Received:
        """Take one call of the webhook, and record it."""
        with self._changed:
            misbehaviour = self._misbehaviour
            self._misbehaviour = misbehaviour.once_less() if misbehaviour else None
            if misbehaviour and misbehaviour.status is not None:
                status, why = misbehaviour.status, misbehaviour.why
            else:
                status, why = self._take(method, path, headers, body)
            self._received += 1
            if misbehaviour and misbehaviour.seconds:
                self.held.expect(self._received)
            record = Received(
                number=self._received,
                time=time.time(),
                method=method,
                path=path,
                endpoint=webhook.endpoint_of(path),
                headers=headers,
                body=body[: webhook.MAX_BODY],
                status=status,
                why=why,
                misbehaviour=misbehaviour,
            )
            self._requests.append(record)
            self._note_change()
            return record

    def open(self) -> str:
        """Start a conversation for the widget, and return its session id."""
        with self._changed:
            session_id = secrets.token_hex(12)
            self._remember(Conversation(session_id, from_widget=True))
            self._note_change()
            return session_id

    def begin(self, session_id: str, outcome: str) -> None:
        """The page's function was called: wait a moment for what it may bring, then say the first words."""
        with self._changed:
            conversation = self._opened(session_id)
            if outcome == "called":
                self._changed.wait_for(lambda: conversation.begun or conversation.knows, self.patience)
            conversation.begin(outcome, self.function)
            self._note_change()

    def hear(self, session_id: str, text: str) -> None:
        """The visitor wrote something."""
        with self._changed:
            self._opened(session_id).hear(text)
            self._note_change()

    def view(self, session_id: str, after: int) -> View:
        """The conversation for its widget, with the messages after `after`."""
        with self._changed:
            return self._view(self._opened(session_id), after)

    def overview(self, count: int) -> Overview:
        """What the operator looks at, with so many requests and conversations."""
        with self._changed:
            conversations = islice(reversed(self._conversations.values()), count)
            return Overview(
                version=self._version,
                received=self._received,
                accepted=self._accepted,
                misbehaviour=self._misbehaviour,
                requests=list(islice(reversed(self._requests), count)),
                conversations=[self._view(conversation, 0) for conversation in conversations],
            )

    # -- with the lock held ----------------------------------------------------------------------

    def _take(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str]:
        bot = webhook.Bot(self._uuid, self.chatbot_id, self._token)
        result = webhook.check(bot, method, path, headers, body)
        if isinstance(result, webhook.Refused):
            return result.status, result.why
        self._accept(result)
        return 200, ""

    def _accept(self, push: webhook.Accepted) -> None:
        conversation = self._conversations.get(push.session_id)
        if conversation is None:
            conversation = Conversation(push.session_id, from_widget=False)
            self._remember(conversation)
        if push.endpoint == "logout" or not push.data:  # a sign-out says nothing of anybody
            conversation.forget()
        else:
            conversation.learn(push.data)
        self._pushes.append(Pushed(push.session_id, push.bot_id, push.endpoint, push.data))
        self._accepted += 1

    def _opened(self, session_id: str) -> Conversation:
        found = self._conversations.get(session_id)
        if found is None or not found.from_widget:
            raise LookupError("the widget never opened this session")
        return found

    def _view(self, conversation: Conversation, after: int) -> View:
        return View(
            version=self._version,
            session_id=conversation.session_id,
            from_widget=conversation.from_widget,
            begun=conversation.begun,
            pushes=conversation.pushes,
            knows=dict(conversation.knows),
            changed=dict(conversation.changed),
            messages=conversation.since(after),
        )

    def _remember(self, conversation: Conversation) -> None:
        self._conversations[conversation.session_id] = conversation
        while len(self._conversations) > MAX_KEPT:
            del self._conversations[next(iter(self._conversations))]

    def _note_change(self) -> None:
        self._version += 1
        self._changed.notify_all()


def _in_script(text: str) -> str:
    """`text` as a JavaScript string that cannot end the script element it stands in."""
    return json.dumps(text).replace("<", "\\u003c")
