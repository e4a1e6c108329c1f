"""Paretune's own commands as child processes: jobs that outlive the UI, and short commands whose answer is JSON.

>>> jobs = Jobs()  # doctest: +SKIP
>>> jobs.start("export", ["export", "--json", "--", "runs/methods", "out"], cwd=Path("/data")).id  # doctest: +SKIP
'5f0c2a9be1d34870'
>>> await jobs.run_json(["plan", "-", "--json"], stdin=text, replaces="plan:draft-1")  # doctest: +SKIP
"""

from sweeps.ui.children.command_line import WrongArgument, operand
from sweeps.ui.children.job import Job
from sweeps.ui.children.jobs import Jobs, NotStarted
from sweeps.ui.children.short_commands import Completed

__all__ = ["Completed", "Job", "Jobs", "NotStarted", "WrongArgument", "operand"]
