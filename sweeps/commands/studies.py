"""``paretune studies``. Only typer is imported at the top: the command line imports this whenever it starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import typer

from sweeps.commands.common_options import PREPARE, JsonOption
from sweeps.commands.errors import users_errors

PREFIX = "study-"  # of the names of shipped specs that are studies
INDENT = "  "


@dataclass(frozen=True)
class StoredStudies:
    """What the package of reports knows of studies: ``stored`` gives what came out, as plain values by the study's
    name; ``statement`` a claim of a spec as a sentence.
    """

    stored: Callable[[], Mapping[str, dict[str, Any]]]
    statement: Callable[[dict[str, Any]], str]


def add(app: typer.Typer, studies_of: Callable[[], StoredStudies]) -> None:
    """Adds the command to an app; ``studies_of`` imports what is named."""

    @app.command(rich_help_panel=PREPARE)
    def studies(as_json: JsonOption = False) -> None:
        """List the shipped studies of published results: what each asks, who published it, and what came out."""
        from sweeps.commands.json_output import print_json
        from sweeps.spec.spec import shipped_specs

        with users_errors(ValueError):
            known = studies_of()
            stored = known.stored()
            names = [name for name in shipped_specs() if name.startswith(PREFIX)]
            listed = [_study(name, stored.get(name), known.statement) for name in names]
            if as_json:
                print_json(listed)
                return
            for study in listed:
                for line in _lines(study):
                    typer.echo(line)


def _study(
    name: str, stored: dict[str, Any] | None, statement: Callable[[dict[str, Any]], str]
) -> dict[str, Any]:
    """A study with its claims; of each that was stored, what came out."""
    from sweeps.spec.spec import read

    spec = read(name)
    outcomes = {_key(each["values"]): each for each in (stored or {}).get("claims", ())}
    claims = []
    for claim in spec.claims:
        found = outcomes.get(_key(claim.statement))
        claims.append(
            {
                "claim": found["statement"] if found else statement(claim.to_record()),
                "source": claim.source,
                "outcome": found["outcome"] if found else None,
                "figures": list(found["figures"]) if found else [],
                "reason": found["reason"] if found else None,
            }
        )
    seconds = stored["seconds"] if stored else None
    return {
        "name": name,
        "question": spec.question,
        "minutes": round(seconds / 60, 1) if seconds is not None else _predicted_minutes(name),
        "minutes_are": "predicted" if stored is None else "measured",
        "machine": stored["machine"] if stored else None,
        "note": stored.get("note") if stored else None,
        "claims": claims,
    }


def _predicted_minutes(name: str) -> float | None:
    """By the speeds of this machine; ``None`` where they are not known of all cells."""
    from sweeps.cluster.private_folder import private_temporary_files
    from sweeps.planning.plan import make
    from sweeps.spec.spec import read

    with private_temporary_files():
        times = make(read(name)).times()
    return None if times.unknown else round(times.seconds / 60, 1)


def _key(values: Mapping[str, Any]) -> str:
    """What a claim says, whatever stands for a list in it."""
    return repr(sorted((name, list(v) if isinstance(v, tuple) else v) for name, v in values.items()))


def _lines(study: dict[str, Any]) -> Iterator[str]:
    yield f"{study['name']}: {study['question']}"
    yield INDENT + _time(study)
    for claim in study["claims"]:
        figures = f" ({'; '.join(claim['figures'])})" if claim["figures"] else ""
        source = f"; published by {claim['source']}" if claim["source"] else ""
        yield f"{INDENT}{claim['outcome'] or 'not run yet'}: {claim['claim']}{figures}{source}"
        if claim["outcome"] == "not settled" and claim["reason"]:
            yield f"{INDENT}{INDENT}{claim['reason']}"
    if study["note"]:
        yield f"{INDENT}note: {study['note']}"


def _time(study: dict[str, Any]) -> str:
    if study["minutes"] is None:
        return f"minutes unknown: paretune plan {study['name']} --measure predicts them"
    where = f" on {study['machine']}" if study["machine"] else " predicted on this machine"
    return f"{study['minutes']:g} minutes{where}"
