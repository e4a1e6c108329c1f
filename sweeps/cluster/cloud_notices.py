"""What clouds announce to a machine of theirs: that they are about to take it away.

Their metadata servers answer that machine alone, at an address that leads nowhere elsewhere.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

TIMEOUT_SECONDS = 1.0
AWS_SECONDS = 120.0  # of notice
GCP_SECONDS = 30.0
TRIES = 12  # before a server that never answered is taken not to be there


class Cloud(Protocol):
    """``ending``: when this machine goes, in seconds since 1970, once that is announced.

    It raises ``OSError`` where nobody answers.
    """

    def ending(self) -> float | None: ...


@dataclass(frozen=True)
class Aws:
    """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html"""

    base: str

    def ending(self) -> float | None:
        lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
        token = _ask("PUT", f"{self.base}/latest/api/token", lifetime)
        try:
            said = _ask(
                "GET",
                f"{self.base}/latest/meta-data/spot/instance-action",
                {"X-aws-ec2-metadata-token": token},
            )
        except HTTPError as error:
            if error.code == 404:
                return None
            raise
        return aws_time(said, time.time())


@dataclass(frozen=True)
class Gcp:
    """https://cloud.google.com/compute/docs/instances/create-use-preemptible"""

    base: str

    def ending(self) -> float | None:
        path = "computeMetadata/v1/instance/preempted"
        said = _ask("GET", f"{self.base}/{path}", {"Metadata-Flavor": "Google"})
        return time.time() + GCP_SECONDS if said.strip() == "TRUE" else None


def aws_time(said: str, now: float) -> float:
    """When the action is to happen, or within the usual time if the notice doesn't say.

    >>> aws_time('{"action": "stop", "time": "2026-01-01T00:02:00Z"}', now=0.0)
    1767225720.0
    """
    try:
        return datetime.fromisoformat(json.loads(said)["time"]).timestamp()
    except (ValueError, KeyError, TypeError):
        return now + AWS_SECONDS


def _ask(method: str, url: str, headers: Mapping[str, str]) -> str:
    """Past any proxy, for it is another machine."""
    request = Request(url, method=method, headers=dict(headers))
    with build_opener(ProxyHandler({})).open(request, timeout=TIMEOUT_SECONDS) as answer:
        return str(answer.read().decode())


def clouds() -> list[Cloud]:
    """Those that this machine may be of; where their servers are can be said in the environment."""
    return [
        Aws(os.environ.get("PARETUNE_AWS_METADATA", "http://169.254.169.254")),
        Gcp(os.environ.get("PARETUNE_GCP_METADATA", "http://metadata.google.internal")),
    ]


@dataclass
class Notices:
    """Asks the clouds that there are; on a machine of none it soon asks nobody."""

    asked: list[Cloud]
    _silent: dict[Cloud, int] = field(default_factory=dict)

    def look(self) -> float | None:
        """When this machine goes, if somebody says so."""
        found = [self._ending(cloud) for cloud in list(self.asked)]
        return min((ending for ending in found if ending is not None), default=None)

    def _ending(self, cloud: Cloud) -> float | None:
        try:
            ending = cloud.ending()
        except OSError:
            self._silent[cloud] = self._silent.get(cloud, 0) + 1
            if self._silent[cloud] == TRIES:
                self.asked.remove(cloud)
            return None
        self._silent[cloud] = -(10**9)  # it is there, so it is asked for as long as the machine is
        return ending
