"""Notices by which a cloud announces to a machine that it will be taken down.

They come from the cloud's metadata server, whose link-local address only the machine itself can reach.
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
MAX_SILENCES = 12  # after so many, a server that never answered is asked no more


class Cloud(Protocol):
    """``ending`` gives when this machine will be taken down, in seconds since 1970, once that is announced.

    It raises ``OSError`` where no server answers.
    """

    def ending(self) -> float | None: ...


@dataclass(frozen=True)
class Aws:
    """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html"""

    base: str

    def ending(self) -> float | None:
        lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
        # Machines may refuse questions without a token (IMDSv2); a new one each time needs no renewal.
        token = _ask("PUT", f"{self.base}/latest/api/token", lifetime)
        try:
            notice = _ask(
                "GET",
                f"{self.base}/latest/meta-data/spot/instance-action",
                {"X-aws-ec2-metadata-token": token},
            )
        except HTTPError as error:
            # 404 means that nothing is announced. Other errors are `OSError` too, and count as silence.
            if error.code == 404:
                return None
            raise
        return aws_time(notice, time.time())


@dataclass(frozen=True)
class Gcp:
    """https://cloud.google.com/compute/docs/instances/create-use-preemptible"""

    base: str

    def ending(self) -> float | None:
        path = "computeMetadata/v1/instance/preempted"
        preempted = _ask("GET", f"{self.base}/{path}", {"Metadata-Flavor": "Google"})
        return time.time() + GCP_SECONDS if preempted.strip() == "TRUE" else None


def aws_time(notice: str, now: float) -> float:
    """When the announced action will happen; :data:`AWS_SECONDS` from now if the notice doesn't say.

    >>> aws_time('{"action": "stop", "time": "2026-01-01T00:02:00Z"}', now=0.0)
    1767225720.0
    """
    try:
        return datetime.fromisoformat(json.loads(notice)["time"]).timestamp()
    except (ValueError, KeyError, TypeError):
        return now + AWS_SECONDS


def _ask(method: str, url: str, headers: Mapping[str, str]) -> str:
    """Asks a server without any proxy, which would be another machine."""
    request = Request(url, method=method, headers=dict(headers))
    with build_opener(ProxyHandler({})).open(request, timeout=TIMEOUT_SECONDS) as answer:
        return str(answer.read().decode())


def clouds() -> list[Cloud]:
    """The clouds that this machine may belong to; environment variables may name other addresses of their servers."""
    return [
        Aws(os.environ.get("PARETUNE_AWS_METADATA", "http://169.254.169.254")),
        Gcp(os.environ.get("PARETUNE_GCP_METADATA", "http://metadata.google.internal")),
    ]


@dataclass
class Notices:
    """Asks the clouds that this machine may belong to, and soon only the one it does belong to, if any."""

    clouds: list[Cloud]
    _silent: dict[Cloud, int] = field(default_factory=dict)

    def ending(self) -> float | None:
        """When this machine will be taken down, in seconds since 1970, if a cloud has announced that."""
        # A copy of the list, because a cloud that never answers is removed from it on the way.
        endings = [self._ending(cloud) for cloud in list(self.clouds)]
        return min((ending for ending in endings if ending is not None), default=None)

    def _ending(self, cloud: Cloud) -> float | None:
        try:
            ending = cloud.ending()
        except OSError:
            self._silent[cloud] = self._silent.get(cloud, 0) + 1
            if self._silent[cloud] == MAX_SILENCES:
                self.clouds.remove(cloud)
            return None
        self._silent[cloud] = -(10**9)  # this is the machine's cloud, so it is asked forever
        return ending
