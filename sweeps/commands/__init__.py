"""The commands of ``paretune``, grouped in files by subject; ``sweeps.cli`` adds them to its app.

Only typer is imported at the top of these files, because every command imports all of them.
"""
