"""Starts the API on Ray Serve and shuts it down; answers in progress are finished first."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sweeps.cluster.session import session
from sweeps.serving import preflight, proxy_limits
from sweeps.serving.options import APP_NAME, ServeError, ServeOptions
from trainables.storage import files
from trainables.storage.home import home
from trainables.system import redaction
from trainables.system.signals import handling

if TYPE_CHECKING:
    from sweeps.serving.replica import ReplicaConfig

SHUTDOWN_SECONDS = 30.0  # for answers in progress to finish
LOG_NAME = "serve.log"
# The proxy inherits them from the controller, which ends a proxy that is not ready in time: by default 5 seconds.
PROXY_VARIABLES = {**proxy_limits.CALLBACK, "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60"}
ANSWER_SECONDS = 3600.0  # the longest that one answer may take
# Requests beyond a replica's capacity that still reach it, so that it can refuse them with a message of the API.
REFUSABLE_REQUESTS = 8


def run(config: ReplicaConfig, options: ServeOptions, say: Callable[[str], None]) -> None:
    """Serves until Ctrl-C or SIGTERM. Raises :class:`ServeError`; ``SpecError`` if the cluster can't be joined."""
    options.require_key(config.access.key)
    local_ray: dict[str, Any] = {}
    if options.address is None:
        options.check_port_is_free()
        local_ray = {"num_cpus": options.replicas * options.cpus}
    stop = threading.Event()
    with _log() as log, session(log, options.address, worker_output=True, **local_ray) as ray:
        preflight.prepare_cluster(ray, options, say)
        with (
            _serving(config, options) as limits,
            handling([signal.SIGINT, signal.SIGTERM], lambda *_: stop.set()),
        ):
            names = ", ".join(name for name, _ in config.models)
            remote = not preflight.head_is_local(ray)
            where = f", on the cluster's head ({preflight.head_address(ray)})" if remote else ""
            log_file = f"errors are in {home() / LOG_NAME}"
            say("\n".join([f"serving {names} at {options.url}{where}", *limits, log_file]))
            stop.wait()
            say("shutting down; answers in progress are finished")


@contextmanager
def _serving(config: ReplicaConfig, options: ServeOptions) -> Iterator[list[str]]:
    """Serves within the block, and gives what makes models slower than others."""
    from ray import serve
    from ray.serve.config import HTTPOptions
    from ray.serve.schema import LoggingConfig

    from sweeps.serving.replica import Api

    http = HTTPOptions(host=options.host, port=options.port, request_timeout_s=ANSWER_SECONDS)
    quiet = LoggingConfig(log_level="ERROR", enable_access_log=False)
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    api: Any = Api
    deployment = api.options(
        num_replicas=options.replicas,
        ray_actor_options={"num_cpus": options.cpus, "num_gpus": options.gpus},
        max_ongoing_requests=config.max_concurrent + config.max_waiting + REFUSABLE_REQUESTS,
        graceful_shutdown_timeout_s=SHUTDOWN_SECONDS,
        graceful_shutdown_wait_loop_s=0.5,
    )
    try:
        # One proxy, on the head: with one on each node, every node would listen.
        with _start_errors():
            serve.start(
                proxy_location="HeadOnly",
                http_options=http,
                logging_config=quiet,
                controller_options={"runtime_env": {"env_vars": PROXY_VARIABLES}},
            )
        try:
            handle = serve.run(deployment.bind(config), name=APP_NAME, route_prefix="/", logging_config=quiet)
            yield handle.limits.remote().result()
        except RuntimeError as error:
            raise ServeError(f"the models could not be started: {error}") from error
        finally:
            # Waits for the replicas, which finish the answers in progress; a shutdown alone would not.
            serve.delete(APP_NAME)
    finally:
        serve.shutdown()


@contextmanager
def _start_errors() -> Iterator[None]:
    """Within the block, an error of Ray's means that it could not start its proxy: raises :class:`ServeError`."""
    from ray.exceptions import RayError

    try:
        yield
    except (RayError, TimeoutError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ServeError(
            f"Ray Serve could not start its proxy ({reason}); where the machine is very busy, try again later"
        ) from error


@contextmanager
def _log() -> Iterator[redaction.RedactedFile]:
    """``serve.log`` in Paretune's home folder, to which Ray's own messages go; this user's alone, as errors may quote
    what clients sent.
    """
    home().mkdir(parents=True, exist_ok=True)
    with files.open_to_append(home() / LOG_NAME) as file:
        os.fchmod(file.fileno(), 0o600)
        yield redaction.RedactedFile(file)
