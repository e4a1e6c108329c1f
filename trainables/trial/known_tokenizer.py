"""What a plan needs to know of a trial's tokenizer, kept in the cache so that most plans need not load it.

Loading a tokenizer imports torch and takes seconds: more than all else that a plan does once its rows are tokenized.
"""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from trainables import templates
from trainables.models import locate
from trainables.models.folder import ModelError, fingerprint
from trainables.storage import cache as cache_folders
from trainables.storage import files
from trainables.system.recent import Recent
from trainables.tokenization import token_table
from trainables.tokenization.deferred_tokenizer import DeferredTokenizer
from trainables.trial.config import TrialConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

VERSION = 1  # of what is kept


@dataclass(frozen=True)
class KnownTokenizer:
    """``identity``: all that tokens depend on, hashed. ``system_text``: what its template adds to rows without one."""

    identity: str
    system_text: str | None


def known_tokenizer(config: TrialConfig) -> KnownTokenizer:
    """What is known of the tokenizer of a trial's base model, which is loaded if nothing is known yet.

    Raises ``ModelError`` and ``TemplateError``, as ``tokenizer.load_tokenizer`` does.
    """
    folder = locate.model_folder(config.model)
    asked = {
        "template": config.data.template,
        "template_text": templates.source(config.data.template)
        if config.data.template
        else None,  # of a file
        "settings": config.data.template_settings,
        "arguments": config.data.template_arguments,
        "default_system": config.data.default_system,
        "tool_format": config.data.tool_format,
        "date": config.data.date or datetime.now(UTC).date().isoformat(),  # which some templates write
    }
    if config.model.runs_remote_code:  # such code may do something else each time
        return _examined(config)
    files_of_model = fingerprint(folder, with_weights=False)
    key = files.sha256(
        [VERSION, token_table.VERSION, _library_versions(), _template_code(), files_of_model, asked]
    )
    # An error names the folder.
    found = _recent.get((key, folder), lambda: _kept(key, config))
    return found.raised() if isinstance(found, _Refusal) else found


def deferred_tokenizer(config: TrialConfig) -> DeferredTokenizer:
    """The tokenizer of a trial's base model, for rows that are probably encoded already. Raises as above."""
    return DeferredTokenizer(known_tokenizer(config).identity, lambda: _loaded(config))


def _loaded(config: TrialConfig) -> PreTrainedTokenizerBase:
    from trainables.trial.tokenizer import tokenizer_of

    return tokenizer_of(config)


def _examined(config: TrialConfig) -> KnownTokenizer:
    tokenizer = _loaded(config)
    return KnownTokenizer(token_table.tokenizer_identity(tokenizer), added_system_text(tokenizer))


@dataclass(frozen=True)
class _Refusal:
    """Why there is no tokenizer: an error's class, arguments and attributes, without what its frames hold."""

    cls: type[ValueError]
    arguments: tuple[Any, ...]
    attributes: dict[str, Any]

    @classmethod
    def of(cls, error: ValueError) -> _Refusal:
        return cls(type(error), error.args, dict(vars(error)))

    def raised(self) -> NoReturn:
        """Raises the error anew."""
        error = self.cls.__new__(self.cls, *self.arguments)
        vars(error).update(self.attributes)
        raise error


def _kept(key: str, config: TrialConfig) -> KnownTokenizer | _Refusal:
    """What is kept, or why there is nothing: a plan asks ten times, and loading fails as slowly as it succeeds.

    What the system refused may be there the next time: that is raised and not kept.
    """
    try:
        return cache_folders.value(
            "tokenizers", key, "tokenizer.json", KnownTokenizer, lambda: _examined(config)
        )
    except (ModelError, templates.TemplateError) as error:
        if _of_system(error):
            raise
        return _Refusal.of(error)


def _of_system(error: BaseException | None) -> bool:
    """Whether an error or what it was raised for is an ``OSError`` of the system, and no library's for a wrong file."""
    return error is not None and (
        (isinstance(error, OSError) and error.errno is not None)
        or _of_system(error.__cause__ or error.__context__)
    )


_recent: Recent[tuple[str, Path], KnownTokenizer | _Refusal] = Recent(32)


@cache
def _library_versions() -> list[str]:
    """Read once: a plan asks ten times, and each time would parse the metadata of both packages."""
    return [importlib.metadata.version(name) for name in ("transformers", "tokenizers")]


@cache
def _template_code() -> str:
    """A hash of the chat templates that come along and of the code that applies them."""
    folder = Path(templates.__file__).parent
    sources = sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".jinja"))
    return files.sha256([path.read_text(encoding="utf-8") for path in sources])


def added_system_text(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The system text that the chat template gives to rows without one; ``None`` where it adds none."""
    question = {"role": "user", "content": "qx0wz"}
    try:
        without = templates.render(tokenizer, [question], None, add_generation_prompt=False)
        system = {"role": "system", "content": "qx1wz"}
        given = templates.render(tokenizer, [system, question], None, add_generation_prompt=False)
    except templates.TemplateError:  # it takes no system text, or is no template of conversations
        return None
    before, found, behind = given.partition("qx1wz")
    if not (found and behind and without.startswith(before)):
        return None
    added, found, _ = without[len(before) :].partition(behind)
    return added.strip() or None if found else None
