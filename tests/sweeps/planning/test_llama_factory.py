"""Data that LLaMA-Factory's registry lists: the plan says what its defaults would do otherwise."""

from __future__ import annotations

import json
from pathlib import Path

from tests.helpers.specs import SPEC, plan, spec_folder

REGISTRY = {"ours": {"file_name": "rows.jsonl", "columns": {"prompt": "prompt", "response": "completion"}}}
LISTED = SPEC.replace("{train: rows.jsonl, eval_fraction: 0.4}", "{train: ours}")


def differences(folder: Path, text: str, *sets: str) -> str:
    """The plan's note on LLaMA-Factory."""
    found = [note for note in plan(folder, text, sets).notes if "LLaMA-Factory" in note]
    assert len(found) < 2
    return found[0] if found else ""


def test_the_plan_lists_what_differs_by_defaults_and_not_what_the_spec_says(tmp_path: Path) -> None:
    folder = spec_folder(tmp_path)
    (folder / "dataset_info.json").write_text(json.dumps(REGISTRY))
    note = differences(folder, LISTED)
    assert note.startswith(
        "as dataset_info.json lists ours, what differs from a LLaMA-Factory run by its defaults: rows have up to 1,024 "
        "tokens here and 2,048 there (data.cutoff); 10% of the prompts are held out here and none there"
    )
    assert "own chat template" in note
    chosen = differences(folder, LISTED, "data.cutoff=1024", "data.eval_fraction=0.1", "data.template=qwen")
    assert chosen.endswith("by its defaults: answers without text are left out here and learned there")
    assert "template qwen3: answers without thoughts have no empty <think>" in differences(
        folder, LISTED, "data.template=qwen3"
    )
    assert differences(folder, SPEC) == ""


def test_a_registry_s_sample_and_texts_in_rows_of_their_own_are_named(tmp_path: Path) -> None:
    folder = spec_folder(tmp_path)
    entry = {"file_name": "rows.jsonl", "columns": {"prompt": "prompt"}, "num_samples": 50}
    (folder / "dataset_info.json").write_text(json.dumps({"ours": entry}))
    text = LISTED.replace("[{kind: sft}]", "[{kind: pretrain}]")
    (folder / "rows.jsonl").write_text("".join(json.dumps({"prompt": f"text {n}"}) + "\n" for n in range(60)))
    note = differences(folder, text)
    assert "num_samples of ours are its first 50 rows here and drawn there (data.num_samples)" in note
    assert "texts have rows of their own here and are one stream there (train.packing: stream)" in note
    assert "stream" not in differences(folder, text, "train.packing=stream")
