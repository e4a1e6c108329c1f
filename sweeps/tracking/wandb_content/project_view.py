"""The saved view of a W&B project that groups runs by sweep and cell, with the panels of the sweeps' reports."""

from __future__ import annotations

from wandb_workspaces import expr, workspaces
from wandb_workspaces.workspaces import internal

from sweeps.tracking.wandb_content import panels
from sweeps.tracking.wandb_content.trial_values import CELL, SWEEP

TITLE = "Paretune: sweeps and cells"
KEY = "paretune000"  # by which it is found; W&B's own have 11 random characters
COLUMNS = ("run:state", "config:cell.value", "summary:quality", "summary:peak_gib", "summary:status")


def save(entity: str, project: str) -> str:
    """The view's address. It is made once for a project; one that is there stays as people arranged it."""
    view = _workspace(entity, project)
    if not _exists(entity, project):
        view.save()
    return str(view.url)


def _exists(entity: str, project: str) -> bool:
    try:
        internal.get_view_dict(entity, project, KEY)
    except ValueError:  # W&B's answer where it finds none
        return False
    return True


def _workspace(entity: str, project: str) -> workspaces.Workspace:
    view = workspaces.Workspace(
        entity=entity,
        project=project,
        name=TITLE,
        sections=[
            workspaces.Section(name=name, panels=shown, is_open=True)
            for name, shown in panels.by_subject().items()
        ],
        runset_settings=workspaces.RunsetSettings(
            groupby=[expr.Config(SWEEP), expr.Config(CELL)],
            order=[expr.Ordering(expr.Summary(panels.QUALITY), ascending=False)],
            pinned_columns=list(COLUMNS),
        ),
    )
    view._internal_name = f"nw-{KEY}-v"
    return view
