"""The shop of the flow tests: who is logged in stands in the cookie `user`.

    /login?user=ada   /logout   /json   and every other path: a page

`before` may hold a function for a path: it runs in the application, before the response starts.
"""

from collections.abc import Callable, Iterator
from typing import Any

from drive import HTML, PAGE, Asked, Last, ShellKind, Start, Step, Visitor

JSON = "application/json"


class Shop:
    def __init__(self) -> None:
        self.people: dict[str, Any] = {"ada": {"id": 1, "name": "Ada"}, "grace": {"id": 2, "name": "Grace"}}
        self.versions: dict[str, Any] = {}
        self.asked: list[str] = []
        """What of our callables was called."""
        self.seen: list[Asked] = []
        """Every request that reached the application."""
        self.headers: dict[str, list[tuple[str, str]]] = {}
        """More headers, by path."""
        self.before: dict[str, Callable[[], Any]] = {}

    def __call__(self, asked: Asked) -> Iterator[Step]:
        self.seen.append(asked)
        headers = [("Content-Type", JSON if asked.path == "/json" else HTML), *self.headers.get(asked.path, [])]
        if asked.path == "/login":
            headers.append(("Set-Cookie", f"user={asked.query.partition('=')[2]}; Path=/"))
        if asked.path == "/logout":
            headers.append(("Set-Cookie", "user=; Path=/; Max-Age=0"))
        if asked.path in self.before:
            self.before[asked.path]()
        yield Start(200, headers)
        yield Last(b"{}" if asked.path == "/json" else PAGE)

    def profile(self, request: Any) -> Any:
        self.asked.append("profile")
        return self.people.get(request.cookies.get("user"))

    def identity(self, request: Any) -> Any:
        """The name of the account, and its version where there is one."""
        self.asked.append("identity")
        user = request.cookies.get("user")
        return (user, self.versions[user]) if user in self.versions else user

    def visitor(self, shell: ShellKind, **keywords: Any) -> Visitor:
        """A visitor of the shop, with `profile=` unless told otherwise."""
        return shell.site(self, **{"profile": self.profile, **keywords})
