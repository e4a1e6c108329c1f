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
    "mimo_rl": ("qwen", _OTHER_PROMPT),
    "marco": ("chatml", _NO_PROMPT),
    "chatml_de": ("chatml", _NO_PROMPT),
    "opencoder": ("chatml", _NO_PROMPT),
    "dbrx": ("chatml", _NO_PROMPT),
    "llama3_2": ("llama3", "which writes no dates in front of the system prompt"),
    "skywork_o1": ("llama3", _NO_PROMPT),
    "qwen3_thinking": ("qwen3", "whose prompt opens no <think> block"),
    "gpt_oss": ("gpt-oss", "which writes all of OpenAI's system message, with its date"),
    "glm4_5": ("glm4.5", _PUBLISHED),
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
# Formats that are not here.
ABSENT = re.findall(
    r"\S+",
    """
    aquila atom baichuan baichuan2 bailing bailing_v2 belle bluelm breeze chatglm2 chatglm3 codegeex2 codegeex4
    cpm cpm3 cpm4 deepseek_coder deepseek_v2_5 deepseekcoder devstral dots1 dots_ocr ernie ernie_thinking ernie_vl
    exaone falcon falcon_h1 fewshot glm4_0414 glm4_1v glm4_5v glm4_7 glm4_z1_rumination glm4v glmz1
    granite3_vision hunyuan hunyuan_moe index intern intern_s1 intern_vl internlm internlm3 keye_vl kimi_k2
    kimi_vl ling ling2 llama2_zh llava llava_next longchat megrez mengzi mimo mimo_v2 mimo_vl minicpm minicpm_o
    minicpm_v minimax minimax1 minimax_m1 ministral3 mistral_2503 mistral_2506 mistral_2512 modelscope_agent
    moonlight numina olmo openbuddy openbuddy2 openchat openchat-3.6 orion paligemma paligemma_chat phi_small
    qwen2_audio qwen2_omni qwen3_coder qwen3_omni qwen3_omni_nothink qwen3_vl qwen_audio qwen_vl qwq qwq_preview
    reflection ring2 sailor seed_coder skywork solar starchat sus telechat telechat2 video_llava wizardlm2
    wizardlm2_moe xuanyuan xverse yayi yi_coder yi_vl yuan ziya
    """,
)
OWN = "leave data.template out to use the model's own"


def advice(name: str) -> str | None:
    """What to write instead of a name of LLaMA-Factory or ms-swift; ``None`` for a name that neither has.

    >>> advice("kimi_k2")
    "kimi_k2 of LLaMA-Factory or ms-swift is not here: leave data.template out to use the model's own"
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
