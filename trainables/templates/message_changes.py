"""What is put before a chat template and changes the messages that it is given.

It stands in the template itself, so training, chat, exports and other programs render the same.
"""

from __future__ import annotations

import json

from trainables.templates import built_in
from trainables.templates.settings import behind

# As the data's ``tool_format`` names them, which is as LLaMA-Factory does.
TOOL_FORMATS = ("default", "qwen", "llama3", "mistral")
OMIT = "omit"  # no format: what the template has no place for is left out


def with_default_system(template: str, text: str) -> str:
    """The template, which is given ``text`` as the system text of conversations without one, or with an empty one.

    >>> with_default_system("{{ messages[0].content }}", "Be brief.").endswith("{{ messages[0].content }}")
    True
    """
    system = f'{{"role": "system", "content": {json.dumps(text, ensure_ascii=False)}}}'
    return behind(
        "{% set first_is_system = messages and messages[0].role == 'system' %}"
        "{% if not first_is_system or not messages[0].content %}"
        f"{{% set messages = [{system}] + (messages[1:] if first_is_system else messages) %}}{{% endif %}}",
        template,
    )


def with_tool_format(template: str, tool_format: str) -> str:
    """The template, which is given tools and calls as texts in one of :data:`TOOL_FORMATS`."""
    prefix = built_in.text("tool-format").replace(
        "FORMAT", built_in.text(f"tools-{tool_format}").rstrip("\n")
    )
    return behind(prefix.rstrip("\n"), template)
