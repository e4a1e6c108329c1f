"""The setting that columns with unusual names probably need."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from trainables.data.formats.base import plain_name

ASKED = (
    "instruction",
    "prompt",
    "question",
    "query",
    "input",
    "user",
    "request",
    "source",
    "problem",
    "text",
    *("frage", "pregunta", "вопрос", "问题", "提问", "指令", "输入", "質問", "질문"),
)
ANSWERED = (
    *(
        "response",
        "output",
        "answer",
        "completion",
        "target",
        "assistant",
        "reply",
        "solution",
        "summary",
        "label",
    ),
    *("antwort", "réponse", "respuesta", "ответ", "回答", "答案", "输出", "답변"),
)
CONTEXTS = ("context", "input", "passage", "document")
CONVERSATIONS = (
    "dialog",
    "dialogue",
    "dialogs",
    "chat",
    "chats",
    "turns",
    "conversation_history",
    "data",
    "items",
)
PAIRS = (
    ("preferred_output", "non_preferred_output"),
    ("chosen_response", "rejected_response"),
    ("better", "worse"),
)


def likely_columns(columns: Collection[str]) -> str:
    """``columns: {...}`` for these columns, with dots where nothing is known.

    >>> likely_columns(["instruction", "context", "response"])
    'columns: {prompt: instruction, query: context, response: response}'
    """
    parts = (f"{part}: {column or '...'}" for part, column in likely_parts(columns).items())
    return f"columns: {{{', '.join(parts)}}}"


def likely_parts(columns: Collection[str]) -> dict[str, str | None]:
    """Part -> the column that probably holds it, by its name; ``None`` for a part that is needed and not recognized."""
    names = {plain_name(column): column for column in columns}
    if conversation := _first(CONVERSATIONS, names):
        return {"messages": names[conversation]}
    asked = _first(ASKED, names)
    for chosen, rejected in PAIRS:
        if {chosen, rejected} <= names.keys():
            prompt = names[asked] if asked else None
            return {"prompt": prompt, "chosen": names[chosen], "rejected": names[rejected]}
    answered = _first((name for name in ANSWERED if name != asked), names)
    if not asked and not answered:
        return {"prompt": None, "response": None}
    context = _first((name for name in CONTEXTS if name != asked), names)
    query = {"query": names[context]} if context and asked else {}
    prompt, response = (names[name] if name else None for name in (asked, answered))
    return {"prompt": prompt, **query, "response": response}


def _first(wanted: Iterable[str], names: Collection[str]) -> str | None:
    return next((name for name in wanted if name in names), None)
