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
    "mistral-small-3.2",
    "ministral3",
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
    "internlm3",
    "smollm2",
    "smollm3",
    "gpt-oss",
    "glm4",
    "glm4.5",
    "glm4.7",
    "granite3",
    "granite4",
    "lfm2",
    "lfm2.5",
    "cohere",
    "command-r7b",
    "ernie4.5",
    "ernie4.5-thinking",
    "exaone4",
    "kimi-k2",
    "kimi-k2-thinking",
    "minimax-m2",
    "seed-oss",
    "olmo2",
    "olmo3",
    "olmo3-think",
    "falcon-h1",
    "hunyuan",
    "hunyuan-dense",
    "mimo",
    "mimo-v2",
    "minicpm",
    "minicpm4",
    "baichuan2",
    "chatglm3",
    "vicuna",
    "alpaca",
    "default",
    "empty",
)
# Families that use the template of another one.
ALIASES = {
    "yi": "chatml",
    "smollm": "chatml",
    "gemma2": "gemma",
    "gemma3": "gemma",
    "glm4.6": "glm4.5",
    "stablelm": "zephyr",
    "tulu3": "olmo2",
}
_FOLDER = Path(__file__).parent
_INCLUDE = re.compile(r"\{%- include '([\w.-]+)' %\}")


def text(name: str) -> str:
    """The text of a file of this folder, by its name without ``.jinja``, with the files that it includes."""

    def included(match: re.Match[str]) -> str:
        # The file's last line feed is not part of the template.
        return text(match[1].removesuffix(".jinja")).rstrip("\n")

    return _INCLUDE.sub(included, (_FOLDER / f"{name}.jinja").read_text(encoding="utf-8"))
