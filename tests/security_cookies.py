"""Our two cookies made by hand, from the contract alone, so that what reads and writes them is not held against
itself; and what other products sign with the same key."""

from __future__ import annotations

import hmac
import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from hashlib import sha256

from django.core import signing as django_signing
from drive import KEY
from flask import Flask
from itsdangerous import Signer, TimestampSigner, URLSafeSerializer, URLSafeTimedSerializer

IDS, MARK = "__Host-reve", "__Host-reve-mark"
IDS_SALT, MARK_SALT = b"reve-middleware ids cookie", b"reve-middleware mark cookie"
NOW = 1_800_000_000
"""Seconds since the epoch: where drive.Clock stands."""
HOURS = 3600
OLDER_KEY = "an older key of the same site, which still verifies"
GONE_KEY = "a key of the same site that has left the list"
FOREIGN_KEY = "a key that an attacker made up, long as well"


def sign(payload: bytes, salt: bytes, key: str = KEY) -> str:
    """HMAC-SHA256 of a payload, under a key derived from ours and the salt with HMAC-SHA256."""
    derived = hmac.digest(key.encode(), salt, "sha256")
    return (payload + b"." + urlsafe_b64encode(hmac.digest(derived, payload, "sha256")).rstrip(b"=")).decode()


def ids_payload(session_id: str = "s-1", captured: float = NOW, bot: str = "bot") -> bytes:
    said = json.dumps([bot, session_id, int(captured * 1_000_000)], separators=(",", ":"))
    return urlsafe_b64encode(said.encode()).rstrip(b"=")


def ids(session_id: str = "s-1", captured: float = NOW, key: str = KEY) -> str:
    """The value of the ids cookie."""
    return sign(ids_payload(session_id, captured), IDS_SALT, key)


def digest(what: str, value: str, key: str = KEY) -> bytes:
    """96 bits of a keyed hash, as a mark carries them."""
    derived = hmac.digest(key.encode(), b"reve-middleware mark", "sha256")
    return urlsafe_b64encode(hmac.digest(derived, f"{what}\0{value}".encode(), "sha256")[:12])


def mark_payload(
    who: str, profile: str, version: str = "", session_id: str = "s-1", at: float = NOW, key: str = KEY
) -> bytes:
    parts = [
        digest("session", f"bot\0{session_id}", key),
        digest("who", who, key),
        digest("version", version, key) if version else b"",
        digest("profile", profile, key),
        str(int(at * 1_000_000)).encode(),
    ]
    return b".".join(parts)


def mark(who: str, profile: str, version: str = "", session_id: str = "s-1", at: float = NOW, key: str = KEY) -> str:
    """The value of the mark cookie; `profile`: its JSON."""
    return sign(mark_payload(who, profile, version, session_id, at, key), MARK_SALT, key)


# What others sign with the same key ------------------------------------------------------------------


def flask_session(key: str, said: object) -> str:
    app = Flask("security_cookies")
    app.secret_key = key
    serializer = app.session_interface.get_signing_serializer(app)  # type: ignore[attr-defined]
    return str(serializer.dumps(said))


def starlette_session(key: str, said: object) -> str:
    """As SessionMiddleware makes it."""
    return TimestampSigner(key).sign(b64encode(json.dumps(said).encode())).decode()


def django_session(key: str, said: object) -> str:
    """As django.contrib.sessions.backends.signed_cookies makes it."""
    salt = "django.contrib.sessions.backends.signed_cookies"
    return str(django_signing.TimestampSigner(key=key, salt=salt, fallback_keys=()).sign_object(said))


SERIALIZED: dict[str, Callable[[str, object], str]] = {
    "Flask's session": flask_session,
    "Starlette's session": starlette_session,
    "Django's session in a cookie": django_session,
    "URLSafeTimedSerializer": lambda key, said: str(URLSafeTimedSerializer(key).dumps(said)),
    "URLSafeSerializer": lambda key, said: str(URLSafeSerializer(key).dumps(said)),
    "URLSafeSerializer, salt activate": lambda key, said: str(URLSafeSerializer(key, salt="activate").dumps(said)),
    "URLSafeSerializer, our ids' salt": lambda key, said: str(URLSafeSerializer(key, salt=IDS_SALT).dumps(said)),
    "URLSafeSerializer, our mark's salt": lambda key, said: str(URLSafeSerializer(key, salt=MARK_SALT).dumps(said)),
}
"""What a product makes of a value of ours, under a key of ours."""

SIGNED: dict[str, Callable[[str, bytes], str]] = {
    "Signer": lambda key, payload: Signer(key).sign(payload).decode(),
    "Signer, SHA-256": lambda key, payload: Signer(key, digest_method=sha256).sign(payload).decode(),
    "Signer, derived as ours": lambda key, payload: (
        Signer(key, key_derivation="hmac", digest_method=sha256).sign(payload).decode()
    ),
    "TimestampSigner, derived as ours": lambda key, payload: (
        TimestampSigner(key, key_derivation="hmac", digest_method=sha256).sign(payload).decode()
    ),
    "TimestampSigner, derived and salted as ours": lambda key, payload: (
        TimestampSigner(key, IDS_SALT, key_derivation="hmac", digest_method=sha256).sign(payload).decode()
    ),
    "Signer, no derivation": lambda key, payload: Signer(key, key_derivation="none").sign(payload).decode(),
    "Django's Signer": lambda key, payload: str(
        django_signing.Signer(key=key, sep=".", fallback_keys=()).sign(payload.decode())
    ),
}
"""What a product makes of a payload of ours, byte for byte, under a key of ours."""
