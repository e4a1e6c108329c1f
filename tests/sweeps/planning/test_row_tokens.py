"""What the tokens of people's rows lose or gain is said by the plan, with the number of rows and the first places."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sweeps.planning import plan
from sweeps.planning.conventions import FIRST
from sweeps.spec.spec import read
from tests.helpers.sweeps import SMALL
from trainables.trial.preview import preview_data

# A template with no place for tools, calls or results, as those of many models.
PLAIN = (
    "{% for message in messages if message.role in ('user', 'assistant') %}<|im_start|>{{ message.role }}\n"
    "{{ message.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# An answer's end is written only when another message follows.
BETWEEN = (
    "{% for message in messages %}{% if not loop.first %}<|im_end|>\n{% endif %}<|im_start|>{{ message.role }}\n"
    "{{ message.content }}{% endfor %}{% if add_generation_prompt %}<|im_end|>\n<|im_start|>assistant\n{% endif %}"
)
THINKS = PLAIN.replace("<|im_start|>assistant\n{% endif %}", "<|im_start|>assistant\n<think>\n{% endif %}")
CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"function": {"name": "tides", "arguments": {"at": "Oslo"}}}],
}
TOOLS = [{"name": "tides", "description": "Tides", "parameters": {}}]


def chats(*turns: str, count: int = 24) -> list[dict[str, Any]]:
    """Conversations of the same turns, with the row's number in the first."""
    roles = ("user", "assistant")
    return [
        {
            "messages": [
                {"role": roles[n % 2], "content": f"{text} {row}" if n == 0 else text}
                for n, text in enumerate(turns)
            ]
        }
        for row in range(count)
    ]


class Planned:
    """The plan of a small spec over some rows."""

    def __init__(
        self, folder: Path, model: Path, rows: list[dict[str, Any]], template: str | None, **sets: Any
    ) -> None:
        (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / "own.jinja").write_text(template or "")
        (folder / "spec.yaml").write_text(SMALL % {"model": model})
        changes = [f"{key.replace('__', '.')}={value}" for key, value in sets.items()]
        changes += [f"data.template={folder / 'own.jinja'}"] if template else []
        self.plan = plan.make(read(folder / "spec.yaml", changes))
        self.errors = [f"{problem.path}: {problem.what}" for problem in self.plan.errors]
        # The later turns of these rows are all the same, in test rows too.
        found = [problem.what for problem in self.plan.warnings]
        self.warnings = [what for what in found if "stands in a training row" not in what]

    def examples(self) -> list[str]:
        """The first examples, with the learned text between brackets."""
        preview = preview_data(self.plan.cells[0].first())
        return [
            "".join(f"[{text}]" if learned else text for text, learned in row) for row in preview.examples
        ]


@pytest.fixture
def planned(tmp_path: Path, tiny_model: Path) -> Any:
    return lambda rows, template=None, **sets: Planned(tmp_path, tiny_model, rows, template, **sets)


def test_rows_that_become_tokens_as_they_are_cause_no_warning(planned: Any) -> None:
    found = planned(chats("wake me at", "alarm 7am"))
    assert (found.errors, found.warnings) == ([], [])


def with_call(rows: list[dict[str, Any]], result: str = "01:10") -> list[dict[str, Any]]:
    """The rows with tools, and a call and its result behind each first message."""
    for row in rows:
        row["tools"] = TOOLS
        row["messages"][1:1] = [CALL, {"role": "tool", "content": result}]
    return rows


LOST = "the tool definitions and the tool calls and the tool results"
NO_PLACE = f"in 24 of 24 rows the chat template has no place for {LOST}"


def test_tools_calls_and_results_without_a_place_in_the_template_are_refused_with_what_works(
    planned: Any,
) -> None:
    rows = with_call(chats("High tide in Oslo?", "At one.", count=24))
    (error,) = planned(rows, PLAIN).errors
    assert error.startswith(f"data.template: {NO_PLACE} (rows.jsonl:")
    assert "data.template: chatml has one" in error
    chatml = planned(rows, data__template="chatml")
    assert (chatml.errors, [text for text in chatml.warnings if "no place" in text]) == ([], [])
    # Calls have a place then; system text and messages of the role tool have none in this template.
    (error,) = planned(rows, PLAIN, data__tool_format="qwen").errors
    assert "has no place for the tool definitions and the tool results (" in error


def test_one_row_with_a_call_without_a_place_is_refused_with_its_place(planned: Any) -> None:
    rows = chats("High tide in Oslo?", "At one.", count=24)
    with_call(rows[4:5])
    (error,) = planned(rows, PLAIN).errors
    assert error.startswith("data.template: in 1 of 24 rows the chat template has no place for the tool def")
    assert "(rows.jsonl:5)" in error


def test_tools_without_a_place_are_left_out_and_counted_where_they_are_to_be_omitted(planned: Any) -> None:
    rows = with_call(chats("High tide in Oslo?", "At one.", count=24))
    found = planned(rows, PLAIN, data__tool_format="omit")
    assert not found.errors
    assert found.warnings[0].startswith(NO_PLACE)
    assert found.warnings[0].endswith(")")
    first = found.plan.cells[0].first()
    same = first.model_copy(update={"data": first.data.model_copy(update={"tool_format": None})})
    assert same.trial_id() == first.trial_id()
    assert (
        planned(rows, PLAIN, data__tool_format="omit", data__strict="true")
        .errors[0]
        .startswith(f"data.train: {NO_PLACE}")
    )


def test_a_run_of_an_earlier_version_goes_on_with_tools_that_have_no_place(
    planned: Any, tmp_path: Path
) -> None:
    planned(with_call(chats("High tide in Oslo?", "At one.", count=24)), PLAIN)
    spec = read(tmp_path / "spec.yaml", [f"data.template={tmp_path / 'own.jinja'}"])
    made = plan.make(spec, conventions=FIRST)
    assert not made.errors
    assert made.warnings[0].what.startswith(NO_PLACE)


def test_a_system_message_that_the_template_leaves_out_is_named_for_its_rows(planned: Any) -> None:
    rows = chats("wake me at", "alarm 7am")
    rows[3]["messages"].insert(0, {"role": "system", "content": "You set alarms."})
    found = planned(rows, PLAIN)
    assert found.warnings[0].startswith("in 1 of 24 rows the chat template does not write the system message")
    assert "(rows.jsonl:4)" in found.warnings[0]


def test_rows_with_only_an_end_token_to_learn_are_left_out_and_none_left_is_an_error(planned: Any) -> None:
    rows = chats("High tide in Oslo?", "", count=24)
    for row in rows:
        row["messages"][1] = CALL
    left_out = planned(rows, PLAIN, data__tool_format="omit").errors
    assert "no training row has anything to learn" in left_out[0]
    mixed = planned([*rows[:4], *chats("wake me at", "alarm 7am", count=20)], PLAIN, data__tool_format="omit")
    assert not mixed.errors
    left_out = [text for text in mixed.warnings if "nothing but an end token is left to learn" in text]
    lost = [text for text in mixed.warnings if "has no place for the tool calls" in text]
    # Rows that are scored are not left out, but lose their calls all the same.
    assert int(left_out[0].split()[1]) + (int(lost[0].split()[1]) if lost else 0) == 4
    assert all("assistant\n[" in text and "alarm" in text for text in mixed.examples())


def test_an_answer_without_an_end_gets_one_unless_the_spec_says_otherwise(planned: Any) -> None:
    rows = chats("First letter of Oslo?", "O", "And the last?", "o")
    found = planned(rows, BETWEEN)
    assert found.warnings[0].startswith(
        "in 24 of 24 rows the chat template ends the answer without a token at which"
    )
    # The end of the first answer is the template's own; that of the last is added.
    assert all("[O<|im_end|>]" in text and text.endswith("[o<|im_end|>]") for text in found.examples())
    kept = planned(rows, BETWEEN, data__end="keep")
    assert not kept.warnings
    assert all(text.endswith("[o]") and "[O]<|im_end|>" in text for text in kept.examples())


def test_answers_without_thoughts_end_the_thought_that_a_template_opens(planned: Any) -> None:
    rows = chats("Is Oslo north of Rome?", "Yes.")
    found = planned(rows, THINKS)
    assert not found.errors
    assert "in 24 of 24 rows the chat template opens a thought in the prompt" in found.warnings[0]
    assert all("<think>\n[</think>\n\nYes." in text for text in found.examples())
    found = planned(rows, THINKS, data__thinking="empty")
    assert not found.errors
    assert not found.warnings
    assert all("<think>\n[\n</think>\n\nYes." in text for text in found.examples())


@pytest.mark.parametrize(
    "body",
    [
        "{{ raise_exception('roles must alternate') }}",
        "{{ messages[7].content }}",
        "{{ messages[0].content + 7 }}",
        "{{ message.tools | tojson }}",
        "{{ 1 / 0 }}",
    ],
)
def test_whatever_a_template_raises_is_an_error_of_its_line_in_the_spec(planned: Any, body: str) -> None:
    always = planned(chats("wake me at", "alarm 7am"), PLAIN + body).errors
    assert len(always) == 1
    assert always[0].startswith("data.template: ")
    # The template passes for two messages, which it is tried on, and fails for the third.
    template = PLAIN + "{% if messages | length > 2 %}" + body + "{% endif %}"
    rows = chats("wake me at", "alarm 7am", "and at 8", "alarm 8am")
    errors = planned(rows, template).errors
    assert len(errors) == 1
    assert errors[0].startswith("data.template: rows.jsonl:")


def test_questions_that_the_cutoff_takes_away_are_counted(planned: Any) -> None:
    rows = chats("wake me at", "alarm 7am")
    for row in rows[:5]:
        row["messages"].insert(0, {"role": "system", "content": "You set alarms and nothing else. " * 12})
    found = planned(rows, data__cutoff="64")
    assert found.warnings[0].startswith("in 5 of 24 rows the prompt loses a part")
    found = planned(rows, data__cutoff="8")
    assert any(text.startswith("in 24 of 24 rows the whole question is cut off") for text in found.warnings)
    found = planned(chats("wake me at " + "and then at eight " * 20, "alarm 7am"), data__cutoff="64")
    assert found.warnings[0].startswith("in 24 of 24 rows the prompt loses a part")


def test_control_tokens_in_contents_are_counted_and_stay_text_unless_they_are_kept(planned: Any) -> None:
    rows = chats("say <|im_end|> at", "alarm 7am")
    found = planned(rows)
    assert found.warnings[0].startswith(
        "in 24 of 24 rows the contents have <|im_end|>, written as ordinary text"
    )
    assert not planned(rows, data__special_tokens="keep").warnings


def test_another_familys_end_token_in_answers_is_named(planned: Any) -> None:
    rows = [*chats("wake me at", "alarm 7am</s>", count=4), *chats("tell me", "alarm 8am", count=24)]
    assert planned(rows).warnings[0].startswith("in 4 of 28 rows an answer ends with </s>")


def test_pairs_of_the_same_tokens_are_left_out_of_training_and_counted(planned: Any) -> None:
    long = "alarm 7am and alarm 8am and alarm 9am and alarm 10am and alarm 11am and alarm 12am " * 3
    pairs = [{"prompt": f"wake me {n}", "chosen": "alarm 7am", "rejected": "alarm 8am"} for n in range(12)]
    cut = [{"prompt": f"tell {n}", "chosen": long + "yes", "rejected": long + "no"} for n in range(12)]
    found = planned([*pairs, *cut], stages="[{kind: dpo}]")
    assert any(
        "the two answers are the same tokens" in text and "left out" in text for text in found.warnings
    )
    preview = preview_data(found.plan.cells[0].first())
    training = preview.data.train
    different = sum(row.chosen == "alarm 7am" for row in training)
    assert len(preview.lengths) == 2 * different < 2 * len(training)


ASKS = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)


def test_template_arguments_are_given_to_the_template_and_unknown_ones_are_errors(planned: Any) -> None:
    rows = chats("Is Oslo north of Rome?", "Yes.")
    found = planned(rows, ASKS, data__template_arguments="{enable_thinking: false}")
    assert not found.errors
    assert all("</think>\n\n[Yes." in text for text in found.examples())
    unread = planned(rows, ASKS, data__template_arguments="{enable_thinkin: false}").errors
    assert unread[0].startswith("data.template_arguments: the chat template reads no enable_thinkin")
    assert "Did you mean enable_thinking?" in unread[0]
    assert "is given messages" in planned(rows, ASKS, data__template_arguments="{messages: []}").errors[0]


def test_a_default_system_text_and_a_tool_format_are_what_rows_are_learned_with(planned: Any) -> None:
    rows = with_call(chats("High tide in Oslo?", "At one."))
    settings = {"template": "chatml", "default_system": "Be kind.", "tool_format": "default", "cutoff": 600}
    found = planned(rows, **{f"data__{name}": value for name, value in settings.items()})
    assert not found.errors
    assert not any("has no place" in text for text in found.warnings)
    assert any(note.endswith('this one: "Be kind."') for note in found.plan.notes)
    listed = "<|im_start|>system\nBe kind.\n\nYou have access to the following tools:\n> Tool Name: tides\n"
    called = '[Action: tides\nAction Input: {"at": "Oslo"}<|im_end|>\n]'
    assert all(text.startswith(listed) and called in text for text in found.examples())
    unknown = planned(rows, data__tool_format="glm4").errors[0]
    assert unknown.startswith("data.tool_format: got")
    assert all(name in unknown for name in ("default", "qwen", "llama3", "mistral"))


DROPS = PLAIN.replace("{{ message.content }}", "{{ message.content if loop.last else message.content[:3] }}")


def test_rows_whose_earlier_answers_are_rendered_differently_are_split_which_is_counted(planned: Any) -> None:
    rows = chats("Is Oslo north of Rome?", "It is.", "And Bonn?", "It is, too.")
    found = planned(rows, DROPS)
    assert "of 24 rows each answer becomes an example of its own" in found.warnings[0]
    last = planned(rows, DROPS, data__turns="last")
    assert "only the last answer is learned" in last.warnings[0]
    assert all("[It is, too." in text for text in last.examples())


def test_a_template_that_writes_the_date_writes_that_of_the_runs_first_start(
    planned: Any, tmp_path: Path
) -> None:
    rows = chats("Is Oslo north of Rome?", "Yes.")
    dated = "{{ strftime_now('%d %b %Y') }}\n" + PLAIN
    found = planned(rows, dated, data__date="2024-02-29")
    assert all(text.startswith("29 Feb 2024\n") for text in found.examples())
    spec = read(tmp_path / "spec.yaml", [f"data.template={tmp_path / 'own.jinja'}"])
    plans = [plan.make(spec, date=date) for date in ("2025-01-01", "2025-01-02")]
    first, other = (made.cells[0].first() for made in plans)
    assert (first.data.date, other.data.date) == ("2025-01-01", "2025-01-02")
    assert first.trial_id() == other.trial_id()
    assert any("2025-01-01 (data.date" in note for note in plans[0].notes)
    assert (
        plan.make(read(tmp_path / "spec.yaml", ["data.template=chatml"])).cells[0].first().data.date is None
    )


def test_answers_that_lose_their_end_are_counted_and_an_error_if_the_data_is_read_strictly(
    planned: Any,
) -> None:
    rows = [*chats("wake me at", "alarm 7am " * 60, count=3), *chats("tell me", "alarm 8am", count=20)]
    found = planned(rows, data__cutoff="128")
    assert found.warnings[0].startswith(
        "in 3 of 23 rows the answer loses its end, as data.cutoff is too small (rows.j"
    )
    strict = planned(rows, data__cutoff="128", data__strict="true")
    assert any("the answer loses its end" in text for text in strict.errors)


def test_calls_that_a_template_does_not_write_are_not_learned_as_empty_answers(planned: Any) -> None:
    rows = with_call(chats("how are the tides", "high"), result="high")
    found = planned(rows, PLAIN, data__tool_format="omit")
    assert any(
        "the chat template writes nothing of an answer, which is not learned" in text
        for text in found.warnings
    )
    (learned, *_) = preview_data(found.plan.cells[0].first()).examples
    assert [text.partition("<")[0] for text, bears_loss in learned if bears_loss] == ["high"]
