"""What becomes of the rows when they are tokenized: rows that can't be, that are left out, or that lose something."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sweeps.planning.draft import Draft
from sweeps.spec.problems import Problem
from trainables.templates.message_changes import OMIT

if TYPE_CHECKING:
    from trainables.data.loading import Data
    from trainables.trial.config import TrialConfig


# What to do about rows with tools, calls or results that the chat template has no place for.
TOOL_ADVICE = (
    "data.template: chatml has one, data.tool_format: qwen writes tools in the system text and calls in the answer's, "
    "and data.tool_format: omit goes on without them"
)
ENCODER_ADVICE = "data.tool_format: omit goes on without them"


def row_token_problems(
    draft: Draft, configs: Sequence[TrialConfig], data: Data | None, tools_need_place: bool = True
) -> list[Problem]:
    """A problem for each kind of remark on the tokens of a cell's rows: an error if the data is read strictly.

    Tools and calls that the template has no place for are always one if ``tools_need_place``, unless they are to be
    omitted. None for a model that is not on this machine yet, as the tokens depend on its tokenizer.
    """
    if data is None:
        return []
    different = {
        config.data.cutoff: config for config in configs
    }  # nothing else that a spec may search changes tokens
    return [
        problem
        for config in different.values()
        for problem in _problems(draft, config, data, tools_need_place)
    ]


def template_notes(config: TrialConfig) -> tuple[str, ...]:
    """What the chat template adds to rows, unless the model is not on this machine yet."""
    from trainables.data.rows import Text
    from trainables.models.folder import ModelError
    from trainables.trial.known_tokenizer import known_tokenizer

    if config.stage.row_type is Text:
        return ()
    try:
        added = known_tokenizer(config).system_text
    except ModelError:
        return ()
    return (f'the chat template gives rows without a system text this one: "{added}"',) if added else ()


def _problems(draft: Draft, config: TrialConfig, data: Data, tools_need_place: bool) -> Iterator[Problem]:
    from trainables.models.folder import ModelError
    from trainables.templates import TemplateArgumentError, TemplateError
    from trainables.trial.preview import row_remarks

    accepted = config.data.tool_format == OMIT
    try:
        for remark in row_remarks(config, data):
            about_template = remark.nothing_left or (remark.no_place and tools_need_place and not accepted)
            setting = ("data", "template" if about_template else "eval" if remark.held_out else "train")
            advice = ENCODER_ADVICE if remark.texts_alone else TOOL_ADVICE
            text = f"{remark.text}; {advice}" if remark.no_place and not accepted else remark.text
            yield draft.problem(setting, text, error=config.data.strict or about_template)
    except TemplateArgumentError as error:
        yield draft.problem(("data", error.setting), str(error))
    except TemplateError as error:
        yield draft.problem(("data", "template"), str(error))
    except ModelError:  # not downloaded yet, which is a warning of its own
        return
