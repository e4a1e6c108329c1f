"""How often somebody may try a key: guesses are slowed for each network, however many requests it sends at once.

A place of the table is one number, the time from which its network has all its attempts again (the generic cell rate
algorithm, ITU-T I.371, 1993), so that an attack of any size leaves the memory as it is. A refused attempt costs
nothing: once an attack ends, the next key is looked at within :data:`SECONDS_EACH`. Networks share places: an attacker
with one network slows, beside that, one in 256 of the others, and one with about 1,500 networks can slow all of them
for as long as the attack lasts. Nobody's link or session is slowed.
"""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
import time
from array import array
from collections.abc import Callable

AT_ONCE = 5  # attempts of a network that has not tried for a while
SECONDS_EACH = 2.0  # between two attempts after those
PLACES = 256  # so an attacker with many networks tries at most 128 keys a second
IPV6_NETWORK = 48  # bits: the most that a site usually gets (RFC 6177), which chooses the rest itself


class KeyAttempts:
    """Which attempts are looked at.

    >>> attempts = KeyAttempts(clock=lambda: 100.0)
    >>> [attempts.wait("192.0.2.7") for _ in range(6)]
    [0.0, 0.0, 0.0, 0.0, 0.0, 2.0]
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._full_again = array("d", [0.0]) * PLACES
        self._secret = secrets.token_bytes(16)  # nobody can choose an address that shares another's place

    def wait(self, client: str) -> float:
        """Counts an attempt of an address, and returns 0; else, without counting it, the seconds until its next one."""
        place, now = self._place(client), self._clock()
        full_again = max(self._full_again[place], now)
        if (wait := full_again + SECONDS_EACH - AT_ONCE * SECONDS_EACH - now) > 0:
            return wait
        self._full_again[place] = full_again + SECONDS_EACH
        return 0.0

    def was_right(self, client: str) -> None:
        """Gives an attempt back that was no guess."""
        self._full_again[self._place(client)] -= SECONDS_EACH

    def _place(self, client: str) -> int:
        digest = hashlib.blake2b(_network(client).encode(), key=self._secret, digest_size=8).digest()
        return int.from_bytes(digest) % PLACES


def _network(client: str) -> str:
    """What of an address its owner can't choose: all of IPv4, the network of IPv6.

    >>> _network("2001:db8::1"), _network("192.0.2.7"), _network("::ffff:192.0.2.7")
    ('2001:db8::', '192.0.2.7', '192.0.2.7')
    """
    try:
        address = ipaddress.ip_address(client.partition("%")[0])
    except ValueError:
        return client
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, IPV6_NETWORK), strict=False).network_address)
