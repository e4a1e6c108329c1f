"""Fields of requests that this server doesn't support, at the values that change nothing: clients send them along.

The fields are those of OpenAI's API and of the servers that extend it: vLLM, text-generation-inference, SGLang and
llama.cpp.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

# Fields that don't affect an answer, whatever their value.
IGNORED = frozenset(
    {
        "user", "metadata", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
        "prompt_cache_options", "parallel_tool_calls", "request_id", "session_id", "cache_salt", "cache_prompt",
        "spaces_between_special_tokens", "stream_interval", "guided_decoding_backend",
    }
)  # fmt: skip
# Fields for which an empty value asks for something: here, to search the web with the default settings.
_NEVER_EMPTY = frozenset({"web_search_options"})
COMMON: dict[str, tuple[Any, ...]] = {
    # OpenAI
    "store": (False,),
    "echo": (False,),
    "response_format": ({"type": "text"},),
    # vLLM, SGLang
    "use_beam_search": (False,),
    "min_p": (0,),
    "repetition_penalty": (1,),
    "length_penalty": (1,),
    "early_stopping": (False,),
    "include_stop_str_in_output": (False,),
    "no_stop_trim": (False,),
    "ignore_eos": (False,),
    "min_tokens": (0,),
    "skip_special_tokens": (True,),
    "detokenize": (True,),
    "prompt_logprobs": (False,),
    "priority": (0,),
    "watermarking": (False,),
    "thinking_token_budget": (-1,),
    "return_tokens_as_token_ids": (False,),
    "return_token_ids": (False,),
    "return_token_offsets": (False,),
    "return_prompt_text": (False,),
    "return_hidden_states": (False,),
    "return_mm_kwargs": (True,),
    "routed_experts_prompt_start": (0,),
    # text-generation-inference
    "typical_p": (1,),
    "watermark": (False,),
    "do_sample": (True,),
    "details": (False,),
    "decoder_input_details": (False,),
    "return_full_text": (False,),
    "top_n_tokens": (0,),
    # llama.cpp and others
    "repeat_penalty": (1,),
    "no_repeat_ngram_size": (0,),
    "num_beams": (1,),
    "mirostat": (0,),
    "tfs_z": (1,),
    "n_probs": (0,),
    "timings_per_token": (False,),
    "return_progress": (False,),
}
CHAT: dict[str, tuple[Any, ...]] = {
    "logprobs": (False,),
    "top_logprobs": (0,),
    "tool_choice": ("none", "auto"),  # without tools, which are refused
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "verbosity": ("medium",),
    "include_reasoning": (True,),
    "add_generation_prompt": (True,),
    "continue_final_message": (False,),
    "add_special_tokens": (False,),
}
COMPLETION: dict[str, tuple[Any, ...]] = {"logprobs": (False,), "add_special_tokens": (True,)}


def without_neutral_fields(
    body: Mapping[str, Any], values: Mapping[str, tuple[Any, ...]], supported: Mapping[str, Any]
) -> dict[str, Any]:
    """The fields of a request that say something: without those that are not set (``null``), that don't affect an
    answer, or that are not ``supported`` and have one of their neutral ``values`` or are empty.

    >>> without_neutral_fields({"n": 2, "tools": [], "min_p": 0.0, "echo": True}, COMMON, {"n": ...})
    {'n': 2, 'echo': True}
    """
    return {
        name: value
        for name, value in body.items()
        if value is not None
        and name not in IGNORED
        and (name in supported or not _is_neutral(name, value, body, values.get(name, ())))
    }


def _is_neutral(name: str, value: Any, body: Mapping[str, Any], values: tuple[Any, ...]) -> bool:
    if name in _SPECIAL:
        return _SPECIAL[name](value, body)
    if value in ("", [], {}):
        return name not in _NEVER_EMPTY
    # True and 1 are equal in Python and mean different things in some fields, as 0 logprobs are some.
    return any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in values)


def _no_bias(value: Any, body: Mapping[str, Any]) -> bool:
    return value == [] or (isinstance(value, dict) and all(bias == 0 for bias in value.values()))


def _no_choice(value: Any, body: Mapping[str, Any]) -> bool:
    """Whether the best of as many answers as are returned is asked for: all of them."""
    return value == (body.get("n") or 1)


_SPECIAL: dict[str, Callable[[Any, Mapping[str, Any]], bool]] = {
    "logit_bias": _no_bias,
    "best_of": _no_choice,
}


def refusal(name: str, values: Mapping[str, tuple[Any, ...]]) -> str:
    """Why a field is refused: with the values that are accepted, if there are some.

    >>> refusal("ignore_eos", COMMON)
    'this is not supported here, only false is'
    """
    accepted = " or ".join(json.dumps(value) for value in values.get(name, ()))
    return f"this is not supported here{f', only {accepted} is' if accepted else ''}"
