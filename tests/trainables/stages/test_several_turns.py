"""Answers of several turns in the stages that compare: which tokens have labels, and each loss counted by hand."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.tiny_model import make_tokenizer
from tests.helpers.trials import make_config, make_policy, run
from trainables import templates
from trainables.data import converted_rows
from trainables.data.rows import Labelled, Preference
from trainables.stages import DPO, KTO
from trainables.tokenization.encode import IGNORED
from trainables.training.trainer_setup import training_arguments

GREET = ({"role": "user", "content": "turn on"}, {"role": "assistant", "content": "what?"})
PROMPT = (*GREET, {"role": "user", "content": "the lamp"})


def assistant(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


PAIR = Preference(
    PROMPT,
    "lamp.on(red)",
    "no",
    chosen_turns=(assistant("which colour?"), user("red, please")),
    rejected_turns=(assistant("lamp.off()"), user("red, please"), assistant("oh"), user("well?")),
)
LABELLED = Labelled(PROMPT, "lamp.on(red)", True, completion_turns=PAIR.chosen_turns)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    tokenizer: Any = make_tokenizer()
    templates.apply(tokenizer, "chatml")
    return tokenizer


def learned(tokenizer: Any, example: Any) -> str:
    return str(tokenizer.decode([label for label in example.labels if label != IGNORED]))


def test_labels_are_on_the_answers_of_the_answer_alone(tokenizer: Any) -> None:
    chosen, rejected = DPO().encode(tokenizer, PAIR, 1000)
    assert learned(tokenizer, chosen) == "which colour?<|im_end|>\nlamp.on(red)<|im_end|>\n"
    assert learned(tokenizer, rejected) == "lamp.off()<|im_end|>\noh<|im_end|>\nno<|im_end|>\n"
    (labelled,) = KTO().encode(tokenizer, LABELLED, 1000)
    assert labelled == chosen
    text = templates.render(
        tokenizer, [*PROMPT, *PAIR.chosen_turns, assistant("lamp.on(red)")], add_generation_prompt=False
    )
    assert chosen.input_ids == tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(chosen.answer) == "lamp.on(red)<|im_end|>\n"


def test_a_turn_that_is_marked_has_no_labels(tokenizer: Any) -> None:
    marked = Preference(
        PROMPT, "b", "c", None, (assistant("a", train=False), user("?")), (assistant("x"), user("?"))
    )
    chosen, rejected = DPO().encode(tokenizer, marked, 1000)
    assert learned(tokenizer, chosen) == "b<|im_end|>\n"
    assert learned(tokenizer, rejected) == "x<|im_end|>\nc<|im_end|>\n"
    assert "a<|im_end|>" in tokenizer.decode(chosen.prompt)


@pytest.mark.parametrize("cutoff", [3, 20, 40, 60, 80, 100])
def test_a_cut_answer_of_several_turns_keeps_a_learned_token(tokenizer: Any, cutoff: int) -> None:
    whole = DPO().encode(tokenizer, PAIR, 1000)
    for full, cut in zip(whole, DPO().encode(tokenizer, PAIR, cutoff), strict=True):
        assert len(cut.input_ids) <= cutoff
        assert cut.truncated == (len(full.input_ids) > cutoff)
        # Greedy answers are generated from the prompt of the last answer that is left.
        assert cut.answer
        assert all(label != IGNORED for label in cut.labels[cut.prompt_tokens :])


def test_of_a_template_that_rewrites_earlier_turns_the_last_answers_are_compared(tokenizer: Any) -> None:
    rewriting = copy.deepcopy(tokenizer)
    rewriting.chat_template = (
        "{% for m in messages %}{{ m.role }}: {{ m.content if loop.last else m.content | upper }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    for example, last in zip(DPO().encode(rewriting, PAIR, 1000), (PAIR.chosen, PAIR.rejected), strict=True):
        assert "only the last of several answers is compared" in example.remarks[0]
        learned = [label for label in example.labels if label != IGNORED]
        assert rewriting.decode(learned).startswith(last)
        assert example.input_ids[-len(learned) :] == learned


# Losses


class Case:
    """A stage's trainer over rows whose answers have up to three turns; its policy moved from where it began."""

    def __init__(self, model: Path, folder: Path, kind: str, **stage: Any) -> None:
        self.config = make_config(
            model,
            write(folder, labelled=kind == "kto"),
            "full",
            stage={"kind": kind, **stage},
            precision="fp32",
            dtype="float32",
            steps=1,
            eval_fraction=0.5,
            batch_size=4,
        )
        torch.manual_seed(0)
        self.policy = make_policy(self.config)
        self.before = copy.deepcopy(self.policy.causal).double().eval()
        self.rows = converted_rows.load_uncut(self.config.data, self.config.stage.row_type).rows[:4]
        options = training_arguments(self.config.train, 1, Path("/nonexistent"), 1, "cpu") | {
            "save_strategy": "no"
        }
        self.trainer: Any = self.config.stage.trainer(self.policy, self.rows, self.config.train, 256, options)
        self.order = self.trainer._get_train_sampler()
        with torch.no_grad():
            for parameter in self.policy.model.parameters():
                parameter += 0.05 * torch.randn_like(parameter)
        self.after = copy.deepcopy(self.policy.causal).double().eval()

    def batch(self) -> Any:
        rows = self.trainer._remove_unused_columns(self.trainer.train_dataset)
        return self.trainer.data_collator([rows[place] for place in self.order])

    def loss(self) -> float:
        self.trainer.model.train()
        with torch.no_grad():
            return float(self.trainer.compute_loss(self.trainer.model, self.batch()))

    def examples(self) -> list[Any]:
        return list(self.config.stage.tokens(self.policy.tokenizer, self.rows, 256))


def write(folder: Path, labelled: bool) -> Path:
    """Six rows: every other one has an answer of one turn, and every row a prompt of its own."""
    rows: list[dict[str, Any]] = []
    for number in range(8):
        prompt = [*GREET, user(f"the lamp {number}")]
        good = [assistant("which colour?"), user("red, please"), assistant("lamp.on(red)")]
        bad = [assistant("lamp.off()"), user("red, please"), assistant("oh"), user("well?"), assistant("no")]
        chosen, rejected = (good, bad) if number % 2 else (good[-1:], bad)
        if labelled:
            answer = chosen if number in (0, 1, 4, 5) else rejected
            rows.append({"prompt": prompt, "completion": answer, "label": answer is chosen})
        else:
            rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def of_labels(model: Any, ids: list[int], labels: list[int]) -> np.ndarray:
    """ln p of the tokens that have labels."""
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
    every = logits.gather(1, torch.tensor(ids[1:])[:, None])[:, 0].numpy()
    return every[np.array(labels[1:]) != IGNORED]


def ratio(case: Case, ids: list[int], labels: list[int]) -> np.ndarray:
    return of_labels(case.after, ids, labels) - of_labels(case.before, ids, labels)


def sigmoid(value: float) -> float:
    return float(1 / (1 + np.exp(-value)))


@pytest.mark.parametrize("loss", ["sigmoid", "ipo"])
def test_dpo_compares_the_learned_turns(tiny_model: Path, tmp_path: Path, loss: str) -> None:
    case = Case(tiny_model, tmp_path, "dpo", loss=loss)
    examples, terms = case.examples(), []
    for pair in zip(examples[0::2], examples[1::2], strict=True):
        good, bad = (ratio(case, each.input_ids, each.labels) for each in pair)
        d, per_token = good.sum() - bad.sum(), good.mean() - bad.mean()
        terms.append(-np.log(sigmoid(0.1 * d)) if loss == "sigmoid" else (per_token - 5) ** 2)
    assert case.loss() == pytest.approx(np.mean(terms), rel=2e-4)


@pytest.mark.parametrize("kind", ["simpo", "orpo"])
def test_stages_without_a_reference_compare_the_learned_turns(
    tiny_model: Path, tmp_path: Path, kind: str
) -> None:
    case = Case(tiny_model, tmp_path, kind)
    examples, terms, likelihoods = case.examples(), [], []
    for pair in zip(examples[0::2], examples[1::2], strict=True):
        good, bad = (of_labels(case.after, each.input_ids, each.labels).mean() for each in pair)
        if kind == "simpo":
            terms.append(-np.log(sigmoid(2 * (good - bad) - 1)))
        else:
            odds = [value - np.log1p(-np.exp(value)) for value in (good, bad)]
            terms.append(-0.1 * np.log(sigmoid(odds[0] - odds[1])))
            everything = [0] * len(pair[0].input_ids)
            likelihoods.append(of_labels(case.after, pair[0].input_ids, everything))
    nll = -np.concatenate(likelihoods).mean() if likelihoods else 0.0
    assert case.loss() == pytest.approx(nll + np.mean(terms), rel=2e-4)


def test_kto_weighs_the_learned_turns_and_estimates_its_kl_from_them(
    tiny_model: Path, tmp_path: Path
) -> None:
    case = Case(tiny_model, tmp_path, "kto", beta=0.2)
    examples = [case.examples()[place] for place in case.order]
    labels = [case.rows[place].label for place in case.order]
    starts = [next(n for n, label in enumerate(each.labels) if label != IGNORED) for each in examples]
    ratios = [ratio(case, each.input_ids, each.labels).sum() for each in examples]
    mismatched = []
    for number, (each, start) in enumerate(zip(examples, starts, strict=True)):
        other, beginning = examples[number - 1], starts[number - 1]
        ids = each.input_ids[:start] + other.input_ids[beginning:]
        mismatched.append(ratio(case, ids, [IGNORED] * start + other.labels[beginning:]).sum())
    z = max(0.0, float(np.mean(mismatched)))
    terms = [
        1 - sigmoid(0.2 * (r - z)) if good else 1 - sigmoid(0.2 * (z - r))
        for r, good in zip(ratios, labels, strict=True)
    ]
    assert set(labels) == {True, False}
    assert case.loss() == pytest.approx(np.mean(terms), rel=1e-3)


@pytest.mark.parametrize("kind", ["dpo", "kto", "orpo", "simpo", "reward"])
def test_a_trial_on_answers_of_several_turns_trains_and_scores(
    tiny_model: Path, tmp_path: Path, kind: str
) -> None:
    rows = write(tmp_path, labelled=kind == "kto")
    lines = [
        line.replace("the lamp", f"the lamp {n}") for n in range(8) for line in rows.read_text().splitlines()
    ]
    rows.write_text("\n".join(lines))
    record = run(make_config(tiny_model, rows, "lora", stage={"kind": kind}, eval_rows=6), tmp_path)
    assert record.status == "done"
    assert record.quality is not None
    assert 0 <= record.quality <= 1


def test_the_same_prompt_precedes_both_answers_unless_their_first_turns_are_marked(tokenizer: Any) -> None:
    from trainables.stages.reference_trainer import pair_columns

    columns = pair_columns(*DPO().encode(tokenizer, PAIR, 1000))
    assert "the lamp" in tokenizer.decode(columns["prompt_ids"])
    assert columns["chosen_mask"].count(0) == len(
        tokenizer("<|im_start|>user\nred, please<|im_end|>\n<|im_start|>assistant\n").input_ids
    )
    turns = [(assistant(text, train=False), user("?")) for text in ("a", "x")]
    marked = DPO().encode(tokenizer, Preference(PROMPT, "b", "c", None, *turns), 1000)
    columns = pair_columns(*marked)
    assert columns["prompt_ids"] == []
    assert [sum(columns[f"{side}_mask"]) for side in ("chosen", "rejected")] == [
        sum(label != IGNORED for label in each.labels) for each in marked
    ]
