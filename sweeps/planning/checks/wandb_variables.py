"""W&B's environment variables: which of them name another run, and what W&B refuses in the others.

Every setting of W&B has a variable. Those by which people say how they use W&B are kept: the account and the server,
the mode, tags and notes, time limits. Those by which another process, such as W&B's agent, its launcher or a script
that uses W&B itself, tells its own children which run they are part of would put every trial into that one run.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from sweeps.spec.problems import Problem
from sweeps.spec.settings import TrackingConfig
from sweeps.spec.wandb_names import KINDS, name_fault, tag_fault

# W&B's settings that begin with x have variables with X_ or with another underscore.
_OF_ANOTHER_RUN = re.compile(
    r"WANDB_(NAME|RUN_\w+|JOB_\w+|SWEEP_\w+|RESUME\w*|FORK_FROM|REINIT|LAUNCH\w*|CONFIG(_\d+|_PATHS)?"
    r"|ARTIFACTS|PROGRAM\w*|ARGS|NOTEBOOK_NAME|SERVICE|SHOW_RUN|INITED|ROOT_DIR|SETTINGS_SYSTEM"
    r"|(X_|_)(LABEL|PRIMARY|START_TIME|SYNC\w*|FILES_DIR|RUNQUEUE_ITEM_ID|UPDATE_FINISH_STATE|JUPYTER_\w+"
    r"|INTERNAL_CHECK_PROCESS|CLI_ONLY_MODE))"
)


def of_another_run(environment: Mapping[str, str]) -> list[str]:
    """The names of the variables that say which run a process belongs to; the tracker doesn't get them."""
    return sorted(name for name in environment if _OF_ANOTHER_RUN.fullmatch(name))


def is_on(tracking: TrackingConfig, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether anything is sent to W&B, or written for it."""
    return tracking.wandb != "off" and environment.get("WANDB_MODE") != "disabled"


def project(tracking: TrackingConfig, environment: Mapping[str, str] = os.environ) -> str:
    """The project of a sweep's runs: the spec's, else that of ``WANDB_PROJECT``, else the default."""
    is_given = "project" in tracking.model_fields_set
    return tracking.project if is_given else environment.get("WANDB_PROJECT") or tracking.project


def left_out(project: str, environment: Mapping[str, str] = os.environ) -> Iterator[str]:
    """A line about the variables that are left out, if there are any."""
    names = of_another_run(environment)
    if names:
        verb, belong = ("is", "belongs") if len(names) == 1 else ("are", "belong")
        yield (
            f"W&B: {', '.join(names)} of the environment {verb} not used, as {'it' if len(names) == 1 else 'they'} "
            f"{belong} to another run. Each trial is a run of its own in the project {project}"
        )


def problems(tracking: TrackingConfig, environment: Mapping[str, str] = os.environ) -> Iterator[Problem]:
    """What W&B would refuse in the variables that are used; the spec's own names are checked as it is read."""
    for kind in KINDS:
        name = environment.get(variable := f"WANDB_{kind.upper()}")
        if kind not in tracking.model_fields_set and name and (fault := name_fault(kind, name)):
            yield Problem("environment", variable, fault)
    for tag in filter(None, [environment.get("WANDB_TAGS")]):
        for fault in filter(None, map(tag_fault, tag.split(","))):
            yield Problem("environment", "WANDB_TAGS", fault)
    key = environment.get("WANDB_API_KEY", "")
    if key != key.strip():  # the key itself is never shown
        yield Problem("environment", "WANDB_API_KEY", "W&B refuses a key that begins or ends with space")
    url = environment.get("WANDB_BASE_URL")
    if url and not (urlsplit(url).scheme in ("http", "https") and urlsplit(url).hostname):
        what = f"W&B needs http:// or https:// and a host, got {url}. Did you mean https://{url}?"
        yield Problem("environment", "WANDB_BASE_URL", what)
