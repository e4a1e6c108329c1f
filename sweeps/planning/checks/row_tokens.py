"""What becomes of the rows when they are tokenized: rows that can't be, that are left out, or that lose something."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sweeps.planning.draft import Draft
from sweeps.spec.problems import Problem

if TYPE_CHECKING:
    from trainables.data.loading import Data
    from trainables.trial.config import TrialConfig


def row_token_problems(draft: Draft, configs: Sequence[TrialConfig], data: Data | None) -> list[Problem]:
    """A problem for each kind of remark on the tokens of a cell's rows: an error if the data is read strictly.

    None for a model that is not on this machine yet, as the tokens depend on its tokenizer.
    """
    if data is None:
        return []
    different = {
        config.data.cutoff: config for config in configs
    }  # nothing else that a spec may search changes tokens
    return [problem for config in different.values() for problem in _problems(draft, config, data)]


def template_notes(config: TrialConfig) -> tuple[str, ...]:
    """What the chat template adds to rows, unless the model is not on this machine yet."""
    from trainables.models.folder import ModelError
    from trainables.trial.preview import added_system_text

    try:
        added = added_system_text(config)
    except ModelError:
        return ()
    return (f'the chat template gives rows without a system text this one: "{added}"',) if added else ()


def _problems(draft: Draft, config: TrialConfig, data: Data) -> Iterator[Problem]:
    # Importing a tokenizer takes seconds.
    from trainables.models.folder import ModelError
    from trainables.templates import TemplateArgumentError, TemplateError
    from trainables.trial.preview import row_remarks

    try:
        for remark in row_remarks(config, data):
            setting = ("data", "template" if remark.nothing_left else "eval" if remark.held_out else "train")
            yield draft.problem(setting, remark.text, error=config.data.strict or remark.nothing_left)
    except TemplateArgumentError as error:
        yield draft.problem(("data", error.setting), str(error))
    except TemplateError as error:
        yield draft.problem(("data", "template"), str(error))
    except ModelError:  # not downloaded yet, which is a warning of its own
        return
