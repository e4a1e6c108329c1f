"""Named chat templates: how each family renders a conversation, and how a template changes a tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.template_rules import CHAT, OWN_ENDS, family_tokenizer, rendered
from tests.helpers.tiny_model import make_tokenizer
from trainables import templates
from trainables.config.model import ModelConfig
from trainables.data.thinking import edit_thinking, without_thinking
from trainables.models import locate
from trainables.templates import NAMES, TemplateError
from trainables.trial.tokenizer import load_tokenizer

# The conversation above, with <s> and </s> as the tokenizer's first and last token. Other families are compared with
# their published templates (test_published.py).
RENDERED = {
    "chatml": (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello"
        "<|im_end|>\n<|im_start|>user\n2 + 2?<|im_end|>\n<|im_start|>assistant\n4<|im_end|>\n"
    ),
    "qwen3-nothink": (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\n<think>\n\n</think>\n\nHello<|im_end|>\n<|im_start|>user\n2 + 2?<|im_end|>\n"
        "<|im_start|>assistant\n<think>\n\n</think>\n\n4<|im_end|>\n"
    ),
    "llama2": (
        "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello </s><s>[INST] 2 + 2? [/INST] 4 </s>"
    ),
    "llama3": (
        "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nHello<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n2 + 2?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n4<|eot_id|>"
    ),
    "mistral": "<s>[INST] Be brief.\n\nHi[/INST] Hello</s>[INST] 2 + 2?[/INST] 4</s>",
    "zephyr": (
        "<|system|>\nBe brief.</s>\n<|user|>\nHi</s>\n<|assistant|>\nHello</s>\n"
        "<|user|>\n2 + 2?</s>\n<|assistant|>\n4</s>\n"
    ),
    "gemma": (
        "<s><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello<end_of_turn>\n"
        "<start_of_turn>user\n2 + 2?<end_of_turn>\n<start_of_turn>model\n4<end_of_turn>\n"
    ),
    "deepseek": "<s>Be brief.\n\nUser: Hi\n\nAssistant: Hello</s>User: 2 + 2?\n\nAssistant: 4</s>",
    "deepseek3": "<s>Be brief.<｜User｜>Hi<｜Assistant｜>Hello</s><｜User｜>2 + 2?<｜Assistant｜>4</s>",
    "deepseekr1": (
        "<s>Be brief.<｜User｜>Hi<｜Assistant｜>Hello</s><｜User｜>2 + 2?<｜Assistant｜><think>\n</think>\n\n4</s>"
    ),
    "phi": (
        "<|system|>\nBe brief.<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\nHello<|end|>\n"
        "<|user|>\n2 + 2?<|end|>\n<|assistant|>\n4<|end|>\n"
    ),
    "phi4": (
        "<|im_start|>system<|im_sep|>Be brief.<|im_end|><|im_start|>user<|im_sep|>Hi<|im_end|>"
        "<|im_start|>assistant<|im_sep|>Hello<|im_end|><|im_start|>user<|im_sep|>2 + 2?<|im_end|>"
        "<|im_start|>assistant<|im_sep|>4<|im_end|>"
    ),
    "vicuna": "<s>Be brief. USER: Hi ASSISTANT: Hello</s>USER: 2 + 2? ASSISTANT: 4</s>",
    "alpaca": (
        "Be brief.\n\n### Instruction:\nHi\n\n### Response:\nHello</s>\n\n"
        "### Instruction:\n2 + 2?\n\n### Response:\n4</s>\n\n"
    ),
    "default": "System: Be brief.\nHuman: Hi\nAssistant:Hello</s>\nHuman: 2 + 2?\nAssistant:4</s>\n",
    "empty": "Be brief.HiHello</s>2 + 2?4</s>",
}
RENDERED["qwen"] = RENDERED["qwen3"] = RENDERED["smollm2"] = RENDERED["chatml"]
RENDERED["internlm2"] = f"<s>{RENDERED['chatml']}"
RENDERED["llama4"] = (
    RENDERED["llama3"].replace("start_header_id", "header_start").replace("end_header_id", "header_end")
).replace("eot_id", "eot")

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather <now> in a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Zürich"}}}
TOOL_CHAT: list[dict[str, Any]] = [
    {"role": "user", "content": "Warm?"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": '{"celsius": 21}'},
    {"role": "assistant", "content": "Yes"},
]
LISTED = f"""You have access to the following tools:
> Tool Name: weather
Tool Description: The weather <now> in a city
Tool Args:
  - city (string):{" "}

Use the following format if using a tool:
```
Action: tool name (one of [weather])
Action Input: the input to the tool, in a JSON format representing the kwargs \
(e.g. ```{{"input": "hello world", "num_beams": 5}}```)
```
"""
RESULT = '{"celsius": 21}'
HERMES_CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Zürich"}}\n</tool_call>'
HERMES_RESULT = f"<tool_response>\n{RESULT}\n</tool_response>"
ACTION = 'Action: weather\nAction Input: {"city": "Zürich"}'
JSON_CALL = '{"name": "weather", "parameters": {"city": "Zürich"}}'
DEEPSEEK_CALL = (
    "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n"
    '```json\n{"city": "Zürich"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>'
)
DEEPSEEK_RESULT = (
    f"<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>{RESULT}<｜tool▁output▁end｜><｜tool▁outputs▁end｜>"
)
# The call and the result's turn, without what ends them.
CALLED = {
    "chatml": (HERMES_CALL, f"<|im_start|>tool\n{HERMES_RESULT}"),
    "qwen": (HERMES_CALL, f"<|im_start|>user\n{HERMES_RESULT}"),
    "llama2": (ACTION, f"[INST] {RESULT} [/INST]"),
    "llama3": (JSON_CALL, f"<|start_header_id|>ipython<|end_header_id|>\n\n{RESULT}"),
    "llama4": (JSON_CALL, f"<|header_start|>ipython<|header_end|>\n\n{RESULT}"),
    "mistral": (
        '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Zürich"}}]',
        f'[TOOL_RESULTS] {{"content": {RESULT}}}[/TOOL_RESULTS]',
    ),
    "zephyr": (ACTION, f"<|user|>\n{RESULT}</s>"),
    "gemma": (ACTION, f"<start_of_turn>user\n{RESULT}"),
    "deepseek": (ACTION, f"User: {RESULT}\n\n"),
    "deepseek3": (DEEPSEEK_CALL, DEEPSEEK_RESULT),
    "phi": (ACTION, f"<|user|>\n{RESULT}"),
    "phi4": (ACTION, f"<|im_start|>user<|im_sep|>{RESULT}"),
    "vicuna": (ACTION, f"USER: {RESULT} "),
    "alpaca": (ACTION, f"### Instruction:\n{RESULT}"),
    "default": (ACTION, f"Human: {RESULT}\n"),
    "empty": (ACTION, RESULT),
}
CALLED |= dict.fromkeys(("qwen3", "qwen3-nothink"), CALLED["qwen"])
CALLED |= dict.fromkeys(("internlm2", "smollm2"), CALLED["chatml"])
CALLED["deepseekr1"] = CALLED["deepseek3"]


def smollm2() -> Any:
    try:
        return load_tokenizer(locate.model_folder(ModelConfig(name="smollm2-135m")))
    except locate.ModelError:
        pytest.skip("smollm2-135m isn't on this machine")


@pytest.mark.parametrize("name", RENDERED)
def test_each_family_renders_a_conversation_in_its_form(name: str) -> None:
    assert rendered(family_tokenizer(name), CHAT) == RENDERED[name]


@pytest.mark.parametrize("name", [name for name in RENDERED if name != "deepseekr1"])
def test_the_generation_prompt_is_a_prefix_of_the_rendered_answer(name: str) -> None:
    tokenizer = family_tokenizer(name)
    for answer in (2, 4):
        question = rendered(tokenizer, CHAT[:answer], prompt=True)
        answered = rendered(tokenizer, CHAT[: answer + 1])
        assert answered.startswith(question)
        assert RENDERED[name].startswith(answered)
        content, end = CHAT[answer]["content"], OWN_ENDS.get(name, "</s>")
        assert answered[len(question) :].split() in ([content + end], [content, end])


@pytest.mark.parametrize("name", NAMES)
def test_rendering_gives_the_tokens_of_apply_chat_template(name: str) -> None:
    tokenizer: Any = family_tokenizer(name)
    text = rendered(tokenizer, CHAT)
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == tokenizer.apply_chat_template(
        CHAT, tokenize=True, return_dict=False
    )


@pytest.mark.parametrize("name", sorted(OWN_ENDS))
def test_a_familys_own_end_token_becomes_the_end_of_sequence(name: str) -> None:
    assert family_tokenizer(name).eos_token == OWN_ENDS[name]


@pytest.mark.parametrize("name", ["llama3", "llama4", "gemma", "phi"])
def test_answers_end_with_the_tokenizers_end_token_if_it_lacks_the_familys(name: str) -> None:
    tokenizer = make_tokenizer()
    templates.apply(tokenizer, name)
    text = rendered(tokenizer, CHAT)
    assert text.strip().endswith("4<|im_end|>")
    assert OWN_ENDS[name] not in text
    assert tokenizer.eos_token == "<|im_end|>"


@pytest.mark.parametrize("name", NAMES)
def test_a_bos_token_is_written_once_if_the_tokenizer_has_one(name: str) -> None:
    without = make_tokenizer()
    templates.apply(without, name)
    assert "None" not in rendered(without, CHAT)
    assert "<s><s>" not in rendered(family_tokenizer(name), CHAT)


@pytest.mark.parametrize("name", NAMES)
def test_a_conversation_needs_no_system_prompt(name: str) -> None:
    text = rendered(family_tokenizer(name), CHAT[1:])
    assert "Hi" in text
    own = (
        "qwen",
        "smollm2",
        "smollm3",
        "minimax-m2",
        "olmo3",
        "olmo3-think",
        "mimo",
        "mimo-v2",
        "ernie4.5-thinking",
    )
    assert ("system\n" in text) == (name in own)  # they have a system prompt of their own


@pytest.mark.parametrize(("name", "chat"), [("chatml", CHAT), ("smollm2", CHAT), ("smollm2", CHAT[1:])])
def test_our_template_for_smollm2_renders_as_its_own_does(name: str, chat: list[dict[str, str]]) -> None:
    tokenizer = smollm2()
    for prompt in (False, True):
        own = tokenizer.apply_chat_template(chat[:-1], add_generation_prompt=prompt, tokenize=False)
        ours = tokenizer.apply_chat_template(
            chat[:-1], add_generation_prompt=prompt, tokenize=False, chat_template=templates.source(name)
        )
        assert ours == own


@pytest.mark.parametrize("name", RENDERED)
def test_tools_calls_and_results_are_rendered_in_the_familys_form(name: str) -> None:
    tokenizer = family_tokenizer(name)
    call, result = CALLED[name]
    text = rendered(tokenizer, TOOL_CHAT, TOOLS)
    assert f"{call}{' ' if name == 'llama2' else ''}{tokenizer.eos_token}" in text
    assert result in text
    described = LISTED if call == ACTION else json.dumps(TOOLS[0], indent=4 if call == JSON_CALL else None)
    assert described in text
    assert text.startswith(rendered(tokenizer, TOOL_CHAT[:2], TOOLS))
    assert rendered(tokenizer, TOOL_CHAT[:2], TOOLS).startswith(
        rendered(tokenizer, TOOL_CHAT[:1], TOOLS, prompt=True)
    )
    assert text.startswith(rendered(tokenizer, TOOL_CHAT[:3], TOOLS, prompt=True))


def test_the_list_of_tools_describes_each_argument() -> None:
    arguments = {
        "city": {"type": "string", "description": "Where"},
        "unit": {"type": "string", "enum": ["C", "F"]},
        "days": {"type": "array", "description": "When", "items": {"type": "integer"}},
    }
    tools = [
        {"name": "weather", "parameters": {"type": "object", "properties": arguments, "required": ["city"]}},
        {"type": "function", "function": {"name": "now", "description": "The time"}},
    ]
    text = rendered(family_tokenizer("phi"), TOOL_CHAT[:1], tools)
    assert text.startswith(
        "<|system|>\nYou have access to the following tools:\n> Tool Name: weather\nTool Description: \nTool Args:\n"
        "  - city (string, required): Where\n  - unit (string): , should be one of [C, F]\n"
        "  - days (array): When, where each item should be integer\n\n"
        "> Tool Name: now\nTool Description: The time\nTool Args:\n\n"
    )
    assert "(one of [weather, now])" in text


def test_the_parts_of_parameters_that_are_objects_are_listed() -> None:
    place = {"type": "object", "description": "Where", "properties": {"city": {"type": "string"}}}
    stops = {"type": "array", "items": {"type": "object", "properties": {"hour": {"type": "integer"}}}}
    properties = {"place": place, "stops": stops, "day": {"type": "string", "description": "When"}}
    parameters = {"type": "object", "properties": properties, "$defs": {"zone": {"type": "string"}}}
    tool = {"type": "function", "function": {"name": "trip", "description": "T", "parameters": parameters}}
    text = rendered(family_tokenizer("default"), CHAT[:2], [tool])
    assert f"  - place (object): Where, by the schema {json.dumps(place)}\n" in text
    assert f"where each item should be object, by the schema {json.dumps(stops)}\n" in text
    assert '  - day (string): When\n  by the definitions {"zone": {"type": "string"}}\n' in text


def test_mistral_puts_tools_before_the_first_question() -> None:
    text = rendered(family_tokenizer("mistral"), CHAT[:2], TOOLS)
    assert text == f"<s>[AVAILABLE_TOOLS] {json.dumps(TOOLS)}[/AVAILABLE_TOOLS][INST] Be brief.\n\nHi[/INST]"


def test_parallel_calls_share_a_turn_and_so_do_their_results() -> None:
    chat = [
        CHAT[1],
        {"role": "assistant", "content": "Both.", "tool_calls": [CALL, CALL]},
        {"role": "tool", "content": "21"},
        {"role": "tool", "content": "22"},
    ]
    text = rendered(family_tokenizer("qwen3"), chat, TOOLS)
    assert f"assistant\nBoth.\n{HERMES_CALL}\n{HERMES_CALL}<|im_end|>\n" in text
    assert text.endswith(
        "user\n<tool_response>\n21\n</tool_response>\n<tool_response>\n22\n</tool_response><|im_end|>\n"
    )
    assert '[{"name": "weather"' in rendered(family_tokenizer("llama3"), chat, TOOLS)
    assert f"Both.\n{ACTION}\n{ACTION}</s>Human: 21\nHuman: 22\n" in rendered(
        family_tokenizer("default"), chat, TOOLS
    ).replace("</s>\n", "</s>")
    text = rendered(family_tokenizer("deepseek3"), chat, TOOLS)
    assert text.count("<｜tool▁calls▁begin｜>") == 2  # how to call is told, too
    assert text.endswith(
        "<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>21<｜tool▁output▁end｜>\n"
        "<｜tool▁output▁begin｜>22<｜tool▁output▁end｜><｜tool▁outputs▁end｜>"
    )


@pytest.mark.parametrize("name", [name for name in NAMES if name != "empty"])
def test_an_unknown_role_is_refused(name: str) -> None:
    with pytest.raises(TemplateError, match="no place in this chat template for the role judge"):
        rendered(family_tokenizer(name), [*CHAT, {"role": "judge", "content": "Right."}])


def test_qwen3_keeps_thoughts_and_qwen3_nothink_drops_them() -> None:
    chat = [CHAT[1], {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nHello"}]
    assert rendered(family_tokenizer("qwen3"), chat).endswith(
        "assistant\n<think>\nHm.\n</think>\n\nHello<|im_end|>\n"
    )
    assert rendered(family_tokenizer("qwen3-nothink"), chat).endswith(
        "assistant\n<think>\n\n</think>\n\nHello<|im_end|>\n"
    )
    apart = [CHAT[1], {"role": "assistant", "content": "Hello", "reasoning_content": "Hm."}]
    assert rendered(family_tokenizer("qwen3"), apart) == rendered(family_tokenizer("qwen3"), chat)


def test_the_prompt_of_deepseek_r1_opens_its_thoughts_and_later_turns_omit_them() -> None:
    tokenizer = family_tokenizer("deepseekr1")
    thought = {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nHello"}
    assert rendered(tokenizer, CHAT[1:2], prompt=True) == "<s><｜User｜>Hi<｜Assistant｜><think>\n"
    first = rendered(tokenizer, [CHAT[1], thought])
    assert first == "<s><｜User｜>Hi<｜Assistant｜><think>\nHm.\n</think>\n\nHello</s>"
    apart = {"role": "assistant", "content": "Hello", "reasoning_content": "Hm."}
    assert rendered(tokenizer, [CHAT[1], apart]) == first
    for answer in (thought, apart, CHAT[2]):
        assert rendered(tokenizer, [CHAT[1], answer, CHAT[3]], prompt=True) == (
            "<s><｜User｜>Hi<｜Assistant｜>Hello</s><｜User｜>2 + 2?<｜Assistant｜><think>\n"
        )


def test_the_error_for_an_unknown_name_lists_the_names_and_suggests_the_nearest() -> None:
    with pytest.raises(
        TemplateError, match=r"'lama3'. Did you mean llama3\? Known: chatml \(also yi, smollm\), .*empty"
    ):
        templates.source("lama3")


@pytest.mark.parametrize(("alias", "meant"), templates.ALIASES.items())
def test_an_alias_has_the_template_of_its_family(alias: str, meant: str) -> None:
    assert templates.source(alias) == templates.source(meant)
    tokenizer = family_tokenizer(meant)
    own = make_tokenizer()
    own.add_special_tokens({"eos_token": "</s>"})
    if meant in OWN_ENDS:
        own.add_tokens([OWN_ENDS[meant]], special_tokens=True)
    templates.apply(own, alias)
    assert own.eos_token == tokenizer.eos_token


def test_a_file_is_a_template_too(tmp_path: Path) -> None:
    (tmp_path / "mine.jinja").write_text("{% for m in messages %}{{ m.content }}|{% endfor %}")
    assert templates.source("mine.jinja", tmp_path) == templates.source(tmp_path / "mine.jinja")
    tokenizer = make_tokenizer()
    templates.apply(tokenizer, "mine.jinja", tmp_path)
    assert rendered(tokenizer, CHAT[1:3]) == "Hi|Hello|"


def test_the_error_for_a_missing_or_broken_file_names_it(tmp_path: Path) -> None:
    with pytest.raises(
        TemplateError, match=r"none\.j2: No such file or directory; data\.template takes chatml"
    ):
        templates.source("none.j2", tmp_path)
    (tmp_path / "broken.jinja").write_text("Hi\n{% for m in messages %}")
    with pytest.raises(TemplateError, match=r"broken\.jinja:2: .*correct the template"):
        templates.apply(make_tokenizer(), str(tmp_path / "broken.jinja"))


def test_without_a_template_a_tokenizer_keeps_its_own_or_the_error_says_what_to_set() -> None:
    tokenizer = make_tokenizer()
    before = templates.sha256(tokenizer)
    templates.apply(tokenizer, None)
    assert templates.sha256(tokenizer) == before
    tokenizer.chat_template = None
    with pytest.raises(TemplateError, match=r"no chat template; set data\.template to chatml .* or the path"):
        templates.apply(tokenizer, None)


def test_a_tokenizer_without_any_end_token_is_refused() -> None:
    tokenizer = make_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(TemplateError, match="no end-of-sequence token"):
        templates.apply(tokenizer, "default")


@pytest.mark.parametrize("name", RENDERED)
def test_a_template_is_saved_with_the_tokenizer(name: str, tmp_path: Path) -> None:
    tokenizer = family_tokenizer(name)
    tokenizer.save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path)
    assert templates.sha256(again) == templates.sha256(tokenizer)
    assert again.eos_token == tokenizer.eos_token
    assert rendered(again, CHAT) == RENDERED[name]


def test_a_leading_thought_is_kept_removed_or_emptied() -> None:
    thought, empty = "<think>\nHm.\n</think>\n\n", "<think>\n\n</think>\n\n"
    assert edit_thinking(f"{thought}4", "keep") == f"{thought}4"
    assert edit_thinking(f"{thought}4", "strip") == "4"
    assert edit_thinking(f"{thought}4", "empty") == edit_thinking("4", "empty") == f"{empty}4"
    assert edit_thinking(f"{empty}4", "empty") == f"{empty}4"
    assert edit_thinking(" 4", "strip") == " 4"
    assert (
        edit_thinking("Say <think>a</think>", "strip") == "Say <think>a</think>"
    )  # it doesn't open the answer
    assert edit_thinking("<think>never closed", "strip") == "<think>never closed"


@pytest.mark.parametrize("name", RENDERED)
def test_the_answer_without_thoughts_is_the_same_whoever_opened_them(name: str) -> None:
    tokenizer = family_tokenizer(name)
    for content in ("4", "<think>\nHm.\n</think>\n\n4"):
        question = rendered(tokenizer, CHAT[1:2], prompt=True)
        answered = rendered(tokenizer, [CHAT[1], {"role": "assistant", "content": content}])
        message = answered.removeprefix(question).replace(str(tokenizer.eos_token), "")
        assert without_thinking(message) == without_thinking(content) == "4"
    assert without_thinking(" 4 ") == "4"
    assert without_thinking("<think>never closed") == "<think>never closed"
