"""What follows a prompt: the text of an answer behind the prompt that a model is given, also where the chat template
writes the beginning of an answer differently once it is there.

Templates of reasoning models open a thought in the prompt (``<think>``), and write answers without it.
"""

from __future__ import annotations

import re

from trainables.data.thinking import TAGS, opened_thought, split_thoughts
from trainables.tokenization.rendered_conversation import RenderedConversation

CLOSES_FIRST = (
    "the chat template opens a thought in the prompt, and an answer without thoughts ends it first "
    "(data.thinking: empty, or another data.template, such as chatml)"
)
NO_PLACE = (
    "the chat template's prompt ends the thoughts, so that those of an answer are not learned "
    "(data.template_arguments may let it think: {enable_thinking: true})"
)
ANOTHER_START = (
    "the chat template begins an answer in another way than its prompt does, and what follows the prompt is learned "
    "(data.template: chatml begins both alike)"
)


def answer_behind_prompt(conversation: RenderedConversation, answer: int) -> tuple[str, tuple[str, ...]]:
    """The text of message number ``answer`` behind its prompt, with what ends it, and the remarks on it."""
    prompt, text = conversation.before(answer), conversation.through(answer)
    if text.startswith(prompt):
        return text[len(prompt) :], ()
    whole = str(conversation.messages[answer].get("content") or "")
    thoughts, content = split_thoughts(whole)
    opened = opened_thought(prompt)
    if opened and text.startswith(stem := prompt[: opened.start()]):
        return _behind_opened_thought(opened, text[len(stem) :], thoughts, has_block=content != whole)
    return _behind_another_start(conversation, answer, content.strip()), (ANOTHER_START,)


def _behind_opened_thought(
    opened: re.Match[str], rest: str, thoughts: str, has_block: bool
) -> tuple[str, tuple[str, ...]]:
    """``opened``: the end of the prompt with its tag; ``rest``: the answer as rendered, from where that tag is;
    ``has_block``: the answer has thoughts, if empty ones.
    """
    tag, space, ended = opened[1], opened[2], opened[3]
    block = re.match(rf"\s*{re.escape(tag)}(.*?){re.escape(TAGS[tag])}", rest, re.DOTALL)
    if ended:
        answer = rest[block.end() :].lstrip("\n") if block else rest
        return answer, (NO_PLACE,) if thoughts else ()
    if block:
        return rest[block.start(1) :].removeprefix(space), ()
    if (behind := rest.lstrip("\n")).startswith(TAGS[tag]):
        return f"{thoughts}{behind}", ()  # the template ends the thoughts of an answer without any itself
    if not has_block:
        return f"{TAGS[tag]}\n\n{rest}", (CLOSES_FIRST,)
    # The template took the thoughts out of the answer, and with them perhaps not the empty line behind.
    answer = rest.lstrip("\n")
    return f"{thoughts}\n{TAGS[tag]}\n\n{answer}" if thoughts else f"{TAGS[tag]}\n\n{answer}", ()


def _behind_another_start(conversation: RenderedConversation, answer: int, content: str) -> str:
    prompt, text = conversation.before(answer), conversation.through(answer)
    turns = conversation.turns_before(answer)
    place = text.rfind(content) if content else -1
    if prompt.startswith(turns) and text.startswith(turns):
        start = len(turns) + _shared_characters(prompt[len(turns) :], text[len(turns) :])
        return text[place if place >= len(turns) else start :]
    # Earlier turns are rendered differently, too. Without its place in the text, the answer alone is known.
    return text[place:] if place >= 0 else content


def _shared_characters(first: str, second: str) -> int:
    """How many characters at the beginning two texts share."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(first), len(second)))
