"""The kinds of row that stages need; whatever people have on disk becomes one of these, once."""

from __future__ import annotations

import json
from dataclasses import dataclass

from trainables import files

Message = dict[str, str]  # role, content


@dataclass(frozen=True)
class Conversation:
    """Messages up to the answer, and the answer.

    >>> Conversation(({"role": "user", "content": "2 + 2?"},), "4").answer
    '4'
    """

    prompt: tuple[Message, ...]
    answer: str

    def key(self) -> str:
        """The SHA-256 of the prompt, as hex."""
        return files.sha256(list(self.prompt))

    def prompt_json(self) -> str:
        return json.dumps(list(self.prompt), ensure_ascii=False)
