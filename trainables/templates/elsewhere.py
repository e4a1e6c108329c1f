"""Names that LLaMA-Factory and ms-swift have for templates: what the same format is called here.

A name is accepted only where its format is the same, token for token. Otherwise an error says what to write. The same
name may mean another format there, as ``qwen3_nothink`` does.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

# The same format: accepted as a name.
SAME = {
    "qwen2_5": "qwen",  # ms-swift
    "qwen3_nothink": "qwen3",  # LLaMA-Factory's, of the models that never think
    "qwen3_nothinking": "qwen3",  # ms-swift's
    "qwen3_vl_nothink": "qwen3",
    "gemma3n": "gemma",
    "mllama": "llama3",
}
# A format that is here with a difference: the name here, and the difference.
_OTHER_PROMPT = "whose own system prompt is not the same, so give each row its own"
_NO_PROMPT = "which has no system prompt of its own, so give each row the one that it had"
_PUBLISHED = "which writes what the model's own template writes, thoughts and their absence included"
_TOOLS_FIRST = "which lists tools before the first question, as the model's own tokenizer does"
DIFFERENT = {
    "intern2": ("internlm2", _NO_PROMPT),
    "llama": ("llama2", _NO_PROMPT),
    "qwen2_vl": ("qwen", _OTHER_PROMPT),
    "llava_next_qwen": ("qwen", _OTHER_PROMPT),
    "marco": ("chatml", _NO_PROMPT),
    "chatml_de": ("chatml", _NO_PROMPT),
    "opencoder": ("chatml", _NO_PROMPT),
    "dbrx": ("chatml", _NO_PROMPT),
    "llama3_2": ("llama3", "which writes no dates in front of the system prompt"),
    "skywork_o1": ("llama3", _NO_PROMPT),
    "qwen3_thinking": ("qwen3", "whose prompt opens no <think> block"),
    "gpt_oss": ("gpt-oss", "which writes all of OpenAI's system message, with its date"),
    "glm4_5": ("glm4.5", _PUBLISHED),
    "glm4_7": ("glm4.7", _PUBLISHED),
    "kimi_k2": ("kimi-k2", _PUBLISHED),
    "ernie": ("ernie4.5-thinking", _PUBLISHED),
    "ernie_thinking": (
        "ernie4.5-thinking",
        "which writes each text as it is, without line breaks of its own",
    ),
    "mimo_v2": ("mimo-v2", _PUBLISHED),
    "mistral_2506": ("mistral-small-3.2", _NO_PROMPT),
    "mistral_2512": ("ministral3", _NO_PROMPT),
    "hunyuan_small": ("hunyuan-dense", "whose prompt ends with the assistant's own mark"),
    "hunyuan_moe": ("hunyuan", "which writes thoughts and answers as they are"),
    "olmo": ("olmo2", "which has a line break behind each turn, as the model's own template has"),
    "cpm": ("minicpm", "which has an end token behind every answer"),
    "cpm4": ("minicpm4", "which lists tools as Hermes does"),
    "falcon_h1": ("falcon-h1", "which lists tools as Hermes does"),
    "baichuan": ("baichuan2", "which has an end token behind every answer"),
    "mimo_rl": ("mimo", _OTHER_PROMPT),
    "cpm3": ("minicpm4", "which lists tools as Hermes does"),
    "glm4_moe": ("glm4.5", _PUBLISHED),
    "qwen3_5": ("qwen3.5", _PUBLISHED),
    "qwen3_5_nothink": ("qwen3.5-nothink", _PUBLISHED),
    "qwen3_6": ("qwen3.6", _PUBLISHED),
    "aya": ("cohere", _NO_PROMPT),
    "c4ai": ("cohere", _NO_PROMPT),
    "ministral": ("mistral-nemo", _TOOLS_FIRST),
    "pixtral": ("mistral-nemo", _TOOLS_FIRST),
    "mistral_nemo": ("mistral-nemo", "which has no space behind [INST]"),
    "mistral_small": ("mistral-small", _TOOLS_FIRST),
    "mistral_2501": ("mistral-small", _NO_PROMPT),
    "minimax2": ("minimax-m2", _PUBLISHED),
    "minimax_m2": ("minimax-m2", _PUBLISHED),
    "seed_oss": ("seed-oss", _PUBLISHED),
    "deepseek_v3_1": ("deepseek3.1", _PUBLISHED),
    "phi4_mini": ("phi4-mini", _PUBLISHED),
    "ernie_nothink": ("ernie4.5", "which begins with its own token whatever the tokenizer's is"),
    "phi3": ("phi", "which begins without a token of the beginning"),
}
# A name that is one here, too, for a format with a difference from LLaMA-Factory's.
_NO_OTHER_PROMPT = "rows without a system prompt get none here"
SAME_NAME = {
    "alpaca": "an empty line follows the system prompt of a row here",
    "chatml": "tools are Hermes' here and LLaMA-Factory's own there",
    "chatglm3": "roles are followed by a line break and a space here, as in the model's own code",
    "cohere": "answers end with <|END_OF_TURN_TOKEN|> here",
    "deepseek": "answers begin behind a space here",
    "deepseekr1": "the prompt opens the thoughts here, which are learned without their tag",
    "default": "questions and system prompts have no end token here",
    "empty": "answers have an end token here",
    "gemma2": "the last answer ends with <end_of_turn> alone here",
    "gemma4": "answers without thoughts have no empty channel, and the system prompt asks for none, here",
    "glm4": "an answer that another turn follows ends with that turn's own mark here",
    "granite4": "the system prompt of rows without one is that of the published template here",
    "lfm2": f"the text begins with the tokenizer's first token here; {_NO_OTHER_PROMPT}",
    "llama2": f"texts stand between spaces here; {_NO_OTHER_PROMPT}",
    "mimo": "answers without thoughts have no empty <think> block here",
    "ministral3": "the system prompt has marks of its own here, and calls have the model's own form",
    "mistral": "tools stand in front of [INST] here",
    "qwen3": "answers without thoughts have no empty <think> block here",
    "smollm2": "the model's own system prompt ends without a full stop here",
    "vicuna": "texts stand between spaces, behind the tokenizer's first token, here",
    "zephyr": f"a line break follows each end token here; {_NO_OTHER_PROMPT}",
}
# Formats that are not here.
ABSENT = re.findall(
    r"\S+",
    """
    aquila atom bailing bailing_v2 belle bluelm breeze chatglm2 codegeex2 codegeex4 deepseek_coder deepseek_v2_5
    deepseekcoder devstral dots1 dots_ocr ernie_vl exaone falcon fewshot glm4_0414 glm4_1v glm4_5v glm4_z1_rumination
    glm4v glmz1 granite3_vision index intern intern_s1 intern_vl internlm keye_vl kimi_vl ling ling2 llama2_zh llava
    llava_next longchat megrez mengzi mimo_vl minicpm_o minicpm_v minimax minimax1 minimax_m1 mistral_2503
    modelscope_agent moonlight numina openbuddy openbuddy2 openchat openchat-3.6 orion paligemma paligemma_chat
    phi_small qwen2_audio qwen2_omni qwen3_coder qwen3_omni qwen3_omni_nothink qwen3_vl qwen_audio qwen_vl qwq
    qwq_preview reflection ring2 sailor seed_coder skywork solar starchat sus telechat telechat2 video_llava
    wizardlm2 wizardlm2_moe xuanyuan xverse yayi yi_coder yi_vl yuan ziya
    """,
)
OWN = "leave data.template out to use the model's own"


def advice(name: str) -> str | None:
    """What to write instead of a name of LLaMA-Factory or ms-swift; ``None`` for a name that neither has.

    >>> advice("solar")
    "solar of LLaMA-Factory or ms-swift is not here: leave data.template out to use the model's own"
    """
    folded = _folded(name)
    for other, (own, difference) in DIFFERENT.items():
        if folded == _folded(other):
            return f"{other} of LLaMA-Factory or ms-swift is nearly {own} here, {difference}; or {OWN}"
    for other, own in SAME.items():
        if folded == _folded(other):
            return f"{other} of LLaMA-Factory or ms-swift is {own} here"
    if folded in map(_folded, ABSENT):
        return f"{name} of LLaMA-Factory or ms-swift is not here: {OWN}"
    return None


def misspelled(name: str, known: Iterable[str]) -> str | None:
    """The known name that ``name`` is a misspelling of; ``None`` for what may be the name of another format.

    Digits and words are the difference between formats: ``gemma4`` is no misspelling of ``gemma``.

    >>> misspelled("lama3", ["llama3", "gemma3"])
    'llama3'
    >>> misspelled("qwen3.5", ["qwen3"]) is None
    True
    """
    folded = {_folded(one): one for one in known if re.findall(r"\d", one) == re.findall(r"\d", name)}
    near = difflib.get_close_matches(_folded(name), folded, n=1, cutoff=0.8)
    return folded[near[0]] if near else None


def _folded(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
