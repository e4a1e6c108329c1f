"""The chat templates of this folder: their names, and their text with what they include."""

from __future__ import annotations

import re
from pathlib import Path

NAMES = (
    "chatml",
    "qwen",
    "qwen3",
    "qwen3-nothink",
    "qwen3.5",
    "qwen3.5-nothink",
    "qwen3.6",
    "llama2",
    "llama3",
    "llama4",
    "mistral",
    "mistral-nemo",
    "mistral-small",
    "zephyr",
    "gemma",
    "gemma4",
    "deepseek",
    "deepseek3",
    "deepseek3.1",
    "deepseekr1",
    "phi",
    "phi4",
    "phi4-mini",
    "internlm2",
    "smollm2",
    "gpt-oss",
    "glm4",
    "glm4.5",
    "granite3",
    "granite4",
    "lfm2",
    "lfm2.5",
    "cohere",
    "ernie4.5",
    "exaone4",
    "kimi-k2-thinking",
    "minimax-m2",
    "seed-oss",
    "vicuna",
    "alpaca",
    "default",
    "empty",
)
# Families that use the template of another one.
ALIASES = {"yi": "chatml", "smollm": "chatml", "gemma2": "gemma", "gemma3": "gemma", "glm4.6": "glm4.5"}
_FOLDER = Path(__file__).parent
_INCLUDE = re.compile(r"\{%- include '([\w.-]+)' %\}")


def text(name: str) -> str:
    """The text of a file of this folder, by its name without ``.jinja``, with the files that it includes."""

    def included(match: re.Match[str]) -> str:
        # The file's last line feed is not part of the template.
        return text(match[1].removesuffix(".jinja")).rstrip("\n")

    return _INCLUDE.sub(included, (_FOLDER / f"{name}.jinja").read_text(encoding="utf-8"))
