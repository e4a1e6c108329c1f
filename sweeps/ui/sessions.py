"""Who is signed in: one-time links become sessions, which live in the memory of the UI process alone."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass, field

from sweeps.ui.key_attempts import KeyAttempts

SESSION_SECONDS = 7 * 24 * 3600.0
LINK_SECONDS = 24 * 3600.0


class TooManyKeysError(Exception):
    """A client has tried several wrong keys. ``seconds``: until its next one is looked at."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"{seconds:.1f} s")
        self.seconds = seconds


@dataclass
class Sessions:
    """Sessions and one-time links of a UI process. Only hashes of them are kept.

    >>> sessions = Sessions(key=None)
    >>> session = sessions.redeem(sessions.new_link())
    >>> sessions.knows(session), sessions.knows("another"), sessions.knows(None)
    (True, False, False)
    """

    key: str | None
    _sessions: dict[bytes, float] = field(default_factory=dict)
    _links: dict[bytes, float] = field(default_factory=dict)
    _attempts: KeyAttempts = field(default_factory=KeyAttempts)

    def new_link(self) -> str:
        """A token that signs one browser in, once, within a day."""
        token = secrets.token_urlsafe(32)
        _forget_ended(self._links)
        self._links[_digest(token)] = time.time() + LINK_SECONDS
        return token

    def redeem(self, token: str) -> str | None:
        """A new session for a one-time token; ``None`` for one that is wrong, used or too old."""
        if not _take(self._links, token):
            return None
        return self._new_session()

    def sign_in(self, key: str, client: str) -> str | None:
        """A new session for the right key; ``None`` for a wrong one. Raises :class:`TooManyKeysError` where the address
        ``client`` has tried too many: then no key is looked at, or guessing would be as quick as requests are.
        """
        if self.key is None:
            return None
        if seconds := self._attempts.wait(client):
            raise TooManyKeysError(seconds)
        if not hmac.compare_digest(_digest(key), _digest(self.key)):
            return None
        self._attempts.was_right(client)
        return self._new_session()

    def knows(self, session: str | None) -> bool:
        """Whether a cookie's value is that of a session which has not ended."""
        return session is not None and _holds(self._sessions, session)

    def sign_out(self, session: str) -> None:
        """Ends a session."""
        _take(self._sessions, session)

    def _new_session(self) -> str:
        session = secrets.token_urlsafe(32)
        _forget_ended(self._sessions)
        self._sessions[_digest(session)] = time.time() + SESSION_SECONDS
        return session


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _holds(kept: dict[bytes, float], token: str) -> bool:
    """Whether a token is kept and has not ended. All are compared in constant time, so that nothing is told by time."""
    digest, now = _digest(token), time.time()
    matches = [hmac.compare_digest(digest, each) and until > now for each, until in kept.items()]
    return any(matches)


def _take(kept: dict[bytes, float], token: str) -> bool:
    held = _holds(kept, token)
    kept.pop(_digest(token), None)
    return held


def _forget_ended(kept: dict[bytes, float]) -> None:
    now = time.time()
    for digest in [digest for digest, until in kept.items() if until <= now]:
        del kept[digest]
