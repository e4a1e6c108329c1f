"""How the name of a chat template in another tool is carried over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sweeps.drafting.foreign.carry_over import Dropped, Kept, Outcome, Values
from trainables import templates
from trainables.templates.elsewhere import DIFFERENT, OWN, SAME, SAME_NAME, advice


def template_rule(value: Any, values: Values) -> Iterator[Outcome]:
    """The name where the format is the same or differs in what is said; otherwise the model's own template counts."""
    name = str(value)
    if name in DIFFERENT:
        here, difference = DIFFERENT[name]
        yield Kept("data", "template", here, f"nearly {name} there, {difference}; or {OWN}")
        return
    here = SAME.get(name, name)
    try:
        templates.source(here)
    except templates.TemplateError as error:
        yield Dropped(advice(name) or f"{str(error).partition('.')[0]}; {OWN}")
        return
    note = f"{name} there" if here != name else SAME_NAME.get(name, "")
    yield Kept("data", "template", here, note)
