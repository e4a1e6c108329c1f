"""Starting the API on Ray Serve, and ending it: what is under way is answered first."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sweeps.cluster.session import session
from sweeps.serving import preflight
from sweeps.serving.options import NAME, ServeError, ServeOptions
from trainables.storage.home import home
from trainables.system import redaction
from trainables.system.signals import handling

if TYPE_CHECKING:
    from sweeps.serving.replica import ReplicaConfig

LEAVE_SECONDS = 30.0  # that answers under way have when it is ended
STREAM_SECONDS = 3600.0  # that one answer may take


def run(served: ReplicaConfig, where: ServeOptions, say: Callable[[str], None]) -> None:
    """Serves until it is told to end (Ctrl-C, SIGTERM). Raises :class:`NotServed`, ``SpecError`` for the cluster."""
    where.require_key(served.key)
    own: dict[str, Any] = {}
    if where.address is None:
        where.check_port_is_free()
        own = {"num_cpus": where.replicas * where.cpus}
    over = threading.Event()
    with _log() as log, session(log, where.address, **own) as ray:
        preflight.prepare_cluster(ray, where, say)
        with _up(served, where), handling([signal.SIGINT, signal.SIGTERM], lambda *_: over.set()):
            there = (
                ""
                if preflight.head_is_local(ray)
                else f", on the cluster's head ({preflight.head_address(ray)})"
            )
            say(f"serving {', '.join(name for name, _ in served.models)} at {where.url}{there}")
            over.wait()
            say("ending; what is under way is answered")


@contextmanager
def _up(served: ReplicaConfig, where: ServeOptions) -> Iterator[None]:
    from ray import serve
    from ray.serve.config import HTTPOptions
    from ray.serve.schema import LoggingConfig

    from sweeps.serving.replica import Api

    http = HTTPOptions(host=where.host, port=where.port, request_timeout_s=STREAM_SECONDS)
    quiet = LoggingConfig(log_level="ERROR", enable_access_log=False)
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    serve.start(proxy_location="HeadOnly", http_options=http, logging_config=quiet)
    api: Any = Api
    deployment = api.options(
        num_replicas=where.replicas,
        ray_actor_options={"num_cpus": where.cpus, "num_gpus": where.gpus},
        max_ongoing_requests=served.most + served.waiting + 8,  # it refuses itself, in its own words
        graceful_shutdown_timeout_s=LEAVE_SECONDS,
        graceful_shutdown_wait_loop_s=0.5,
    )
    try:
        serve.run(deployment.bind(served), name=NAME, route_prefix="/", logging_config=quiet)
        yield
    except RuntimeError as error:
        raise ServeError(f"the models could not be started: {error}") from error
    finally:
        serve.delete(NAME)  # waits for replicas, which answer what they have begun; a shutdown alone wouldn't
        serve.shutdown()


@contextmanager
def _log() -> Iterator[redaction.Log]:
    """Where Ray's own noise goes: ``serve.log`` in the cache."""
    home().mkdir(parents=True, exist_ok=True)
    with (home() / "serve.log").open("a", encoding="utf-8") as file:
        yield redaction.Log(file)
