"""The commands of ``paretune``, a file for what belongs together; ``sweeps.cli`` puts them together.

Only typer is imported at the top of these files: whatever the command, all of them are read when it starts.
"""
