"""Which modules LoRA's ``targets`` and ``modules_to_save`` stand for in a model, judged as PEFT does, without torch.

A list holds names: of a module, or what its full name ends in. A text is ``all-linear`` or a regular expression for
full names (PEFT's ``check_target_module_exists``). What is trained whole gets no adapter.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from trainables.models.folder import containing_names, ends_in
from trainables.system.suggestions import did_you_mean, hinted

if TYPE_CHECKING:
    from trainables.models.folder import Architecture

ALL_LINEAR = "all-linear"
SHOWN_MODULES = 3
# What transformers puts before the names in the files of models that were saved without their head (GPT-2).
PREFIXES = ("", "model.", "transformer.", "gpt_neox.")
MATCHING_SECONDS = 5
# Reads a pattern, prefixes and names from standard input; prints the names that match, or what is wrong.
MATCHING = """\
import json, re, sys
pattern, prefixes, names = json.load(sys.stdin)
try:
    match = re.compile(pattern).fullmatch
    result = [name for name in names if any(match(prefix + name) for prefix in prefixes)]
except (re.error, RecursionError, OverflowError) as error:
    result = str(error)
print(json.dumps(result))
"""
# LLaMA-Factory's and ms-swift's names for all linear layers.
ALL_LINEAR_ELSEWHERE = ("all", "all_linear", "linear", "auto")


def target_problems(
    targets: str | Sequence[str], trained_whole: Sequence[str], architecture: Architecture
) -> Iterator[str]:
    """What is wrong with ``targets`` in a model of which the modules ``trained_whole`` are trained themselves."""
    if targets == ALL_LINEAR:
        return
    if isinstance(targets, str):
        if (what := _pattern_problem(targets, trained_whole, architecture)) is not None:
            yield what
    elif not targets:
        yield f"the list is empty, so that nothing would get an adapter; {advice(architecture)}"
    else:
        for name in targets:
            what = _name_problem(name, trained_whole, architecture)
            if what is not None:
                yield what


def saved_problems(names: Sequence[str], architecture: Architecture) -> Iterator[str]:
    """What is wrong with ``modules_to_save``."""
    for name in names:
        if not architecture.has_module(name):
            what = _contained(name, architecture) or f"no module {name!r} in the model"
            there = architecture.module_names
            yield f"{what}; it has {', '.join(there)}{did_you_mean(name, there)}"


def full_names(names: Sequence[str], modules: Sequence[str]) -> list[str]:
    """The ``names``, but for those with which PEFT would train more modules than meant: their modules' full names.

    PEFT trains every module whose name ends in the text: with ``norm`` also ``input_layernorm``.

    >>> full_names(["norm", "lm_head"], ["model.norm", "model.layers.0.input_layernorm", "lm_head"])
    ['model.norm', 'lm_head']
    """
    chosen: list[str] = []
    for name in names:
        meant = [module for module in modules if ends_in(module, name)]
        ambiguous = any(module.endswith(name) for module in modules if module not in meant)
        chosen += meant if ambiguous else [name]
    return chosen


def peft_task(model: Any) -> str | None:
    """PEFT's name of what a transformers model does; ``None`` for an encoder that predicts masked tokens, for which it
    has none. With ``SEQ_CLS`` PEFT trains and saves ``score`` and ``classifier`` as it does ``modules_to_save``.
    """
    from trainables.models.architecture.text_head import encoder_head, text_head

    if text_head(model):
        return "SEQ_CLS"
    return None if encoder_head(model) else "CAUSAL_LM"


def head_beside_peft(model: Any) -> list[str]:
    """Full names of the modules of a head for texts that PEFT wouldn't train by itself, such as an encoder's pooler."""
    from trainables.models.architecture.text_head import text_head

    return [name for name in text_head(model) if name not in ("score", "classifier")]


def _name_problem(name: str, trained_whole: Sequence[str], architecture: Architecture) -> str | None:
    matched = [part for part in architecture.parts if ends_in(part, name)]
    if not matched:
        what = f"no module {name!r} in the model"
        # A pattern in a list is taken for a name.
        if matching := _as_pattern(name, architecture):
            instead = f"as a pattern it matches {matching}: for that write it as a text, targets: '{name}'"
            return f"{what}; {advice(architecture)}; {instead}"
        return hinted(what, did_you_mean(name, architecture.text_matrix_names), advice(architecture))
    if all(is_within(module, trained_whole) for module in matched):
        return f"{name} is in modules_to_save too, which trains it whole, without an adapter; leave one out"
    others = [module for module in matched if module not in architecture.matrices]
    return _no_adapter_fits(name, others, architecture) if others else None


def targeted(targets: str | Sequence[str], architecture: Architecture) -> list[str]:
    """Full names of the modules that valid ``targets`` stand for in a model of matrices alone."""
    if targets == ALL_LINEAR:  # what stands in a numbered layer; embeddings and heads don't
        return [name for name in architecture.matrices if any(map(str.isdigit, name.split(".")))]
    if isinstance(targets, str):
        return list(_matches(targets, architecture.matrices))
    return [name for name in architecture.matrices if any(ends_in(name, target) for target in targets)]


def pattern_error(targets: str | Sequence[str], architecture: Architecture) -> str | None:
    """Why ``targets`` can't be matched with names; ``None`` where they can, in any time that matters."""
    if not isinstance(targets, str) or targets == ALL_LINEAR:
        return None
    try:
        _matches(targets, architecture.parts)
    except ValueError as error:
        return f"{targets!r} can't be used as a regular expression: {error}; {advice(architecture)}"
    return None


def _pattern_problem(pattern: str, trained_whole: Sequence[str], architecture: Architecture) -> str | None:
    if (error := pattern_error(pattern, architecture)) is not None:
        return error
    matched = _matches(pattern, architecture.parts)
    if not matched:
        what = f"no module's full name matches {pattern!r}"
        return hinted(what, _instead_of(pattern, architecture), advice(architecture))
    adapted = [module for module in matched if not is_within(module, trained_whole)]
    if not adapted:
        return f"{pattern!r} matches only what modules_to_save trains whole, so that nothing would get an adapter"
    others = [module for module in adapted if module not in architecture.matrices]
    return _no_adapter_fits(f"{pattern!r} matches {_some(others)}", others, architecture) if others else None


def _no_adapter_fits(subject: str, modules: Sequence[str], architecture: Architecture) -> str:
    contained = all(module not in architecture.modules for module in modules)
    what = "contains modules" if contained else "is no linear layer, embedding or convolution"
    joint = f"{subject}, which {what}" if "matches" in subject else f"{subject} {what}"
    return f"{joint}, so that no adapter can be put on it; {advice(architecture)}"


def _contained(name: str, architecture: Architecture) -> str | None:
    return f"{name} contains modules; name those" if architecture.has_part(name) else None


def _instead_of(pattern: str, architecture: Architecture) -> str:
    """``. Did you mean ...?`` for what a text that matches nothing was meant as; empty without an idea."""
    if pattern in ALL_LINEAR_ELSEWHERE:
        return f". Did you mean {ALL_LINEAR}?"
    names = [name for name in re.split(r"[\s,]+", pattern) if name]
    if names and all(any(ends_in(module, name) for module in architecture.matrices) for name in names):
        return f". Did you mean the list [{', '.join(names)}]?"
    return did_you_mean(pattern, [ALL_LINEAR, *architecture.text_matrix_names])


def _as_pattern(name: str, architecture: Architecture) -> int:
    """How many modules an adapter could be put on match ``name`` as a regular expression."""
    try:
        return len(_matches(name, architecture.matrices))
    except ValueError:
        return 0


@lru_cache(maxsize=1_000)
def _matches(pattern: str, modules: tuple[str, ...]) -> tuple[str, ...]:
    """The modules whose full names match.

    Raises ``ValueError`` for what is no regular expression, and for one that takes too long: with ``(.+)+x`` the time
    doubles with every letter of a name. Hence a process of its own, which can be ended.
    """
    matching = [sys.executable, "-I", "-S", "-c", MATCHING]
    task = json.dumps([pattern, PREFIXES, modules])
    try:
        done = subprocess.run(matching, input=task, capture_output=True, text=True, timeout=MATCHING_SECONDS)
    except subprocess.TimeoutExpired:
        raise ValueError(f"it takes more than {MATCHING_SECONDS} seconds") from None
    found = json.loads(done.stdout)
    if isinstance(found, str):
        raise ValueError(found)
    return tuple(found)


def is_within(module: str, names: Sequence[str]) -> bool:
    """Whether a module, or one that contains it, has one of the ``names``."""
    return any(ends_in(part, name) for part in containing_names(module) for name in names)


def advice(architecture: Architecture) -> str:
    """What adapters can be put on."""
    return f"adapters can be put on {', '.join(architecture.text_matrix_names)}, or on {ALL_LINEAR}"


def _some(modules: Sequence[str]) -> str:
    shown = ", ".join(modules[:SHOWN_MODULES])
    return shown + (f" and {len(modules) - SHOWN_MODULES} more" if len(modules) > SHOWN_MODULES else "")
