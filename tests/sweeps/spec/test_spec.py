"""Reading a spec: YAML 1.2 with line numbers, overrides, and every mistake with its place and what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.spec import key_path, source
from sweeps.spec.problems import SpecError
from sweeps.spec.spec import ResourcesConfig, SearchConfig, read, shipped_specs
from tests.helpers.specs import ONE, SPEC, plan, problems, spec_folder
from trainables.system.suggestions import nearest


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "home"))
    return spec_folder(tmp_path)


def written(path: Path, text: str) -> source.Source:
    file = path / "spec.yaml"
    file.write_text(text)
    return source.read(file)


def refusal(path: Path, text: str, *sets: str) -> str:
    """Why a spec with that text can't be read."""
    file = path / "spec.yaml"
    file.write_text(text)
    with pytest.raises(SpecError) as caught:
        read(file, sets)
    return str(caught.value).replace(f"{path}/", "")


# YAML


def test_numbers_and_texts_are_those_of_yaml_1_2(tmp_path: Path) -> None:
    text = "a: 1e-4\nb: off\nc: yes\nd: 010\ne: 0o10\nf: 12:30:45\ng: 2024-05-01\n"
    text += "h: true\ni: '8'\nj: ~\nk: 1.5e3\n"
    assert written(tmp_path, text).tree == {
        "a": 0.0001,
        "b": "off",
        "c": "yes",
        "d": 10,
        "e": 8,
        "f": "12:30:45",
        "g": "2024-05-01",
        "h": True,
        "i": "8",
        "j": None,
        "k": 1500.0,
    }


def test_values_are_plain_so_that_they_compare_and_pickle_as_such(tmp_path: Path) -> None:
    tree = written(tmp_path, "a: {b: [1, 2e0, on, true]}\n").tree
    assert [type(value) for value in tree["a"]["b"]] == [int, float, str, bool]
    assert type(tree["a"]) is dict
    assert type(tree["a"]["b"]) is list


def test_every_value_knows_its_line(tmp_path: Path) -> None:
    spec = written(tmp_path, "a: 1\nb:\n  - {c: 2,\n     d: [3,\n  4]}\n  - e: 5\n")
    lines = {("a",): 1, ("b", 0): 3, ("b", 0, "d"): 4, ("b", 0, "d", 1): 5, ("b", 1, "e"): 6}
    assert {place: spec.line_of(place) for place in lines} == lines


def test_a_missing_value_has_the_line_of_the_part_that_should_hold_it(tmp_path: Path) -> None:
    spec = written(tmp_path, "a: 1\nb:\n  c: 2\n")
    assert (spec.line_of(("b", "x", 0)), spec.line_of(("z",))) == (2, 1)


def test_merge_keys_and_anchors_are_read(tmp_path: Path) -> None:
    assert written(tmp_path, "a: &a {b: 1}\nc: {<<: *a, d: 2}\n").tree["c"] == {"b": 1, "d": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "spec.yaml:1: the file is empty. Write a spec: name, model, data, ..."),
        ("# nothing\n", "spec.yaml:1: the file is empty. Write a spec: name, model, data, ..."),
        ("- a\n", "spec.yaml:1: a spec is a mapping (name: ..., model: ...), not a list"),
        ("a\n", "spec.yaml:1: a spec is a mapping (name: ..., model: ...), not a single value"),
        (
            "name: a\nname: b\n",
            'spec.yaml:2: duplicate key "name" with value "b" (original value: "a"). Keep one of them',
        ),
        ("train:\n\tsteps: 1\n", "spec.yaml:2: a tab; YAML is indented with spaces. Replace it"),
        ("a: 1\n---\nb: 2\n", "spec.yaml:2: a second document (---) begins here; a spec is one document"),
    ],
)
def test_a_file_that_is_no_spec_says_where_and_why(tmp_path: Path, text: str, message: str) -> None:
    assert refusal(tmp_path, text) == message


def test_a_folded_text_is_read_and_a_bell_in_a_text_is_not(tmp_path: Path) -> None:
    folded = written(tmp_path, "name: a\nquestion: >\n  Which is\n  worth it?\n")
    assert folded.tree["question"] == "Which is worth it?\n"
    assert "can't be seen" in refusal(tmp_path, 'name: "a\\ab"\n')


def test_broken_yaml_names_its_line_and_what_to_look_at(tmp_path: Path) -> None:
    message = refusal(tmp_path, "name: a\nmodel: [1, 2\ntrain: 3\n")
    assert message.startswith("spec.yaml:3: not YAML: expected ',' or ']', but got ':' while parsing")
    assert message.endswith("Check the indentation, brackets and quotes around here")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="can't be read as text"):
        source.read(tmp_path / "spec.yaml")


def test_a_missing_file_lists_the_shipped_specs_and_the_nearest() -> None:
    with pytest.raises(SpecError) as caught:
        read("methdos")
    known = ", ".join(shipped_specs())
    what = f"there is no such file, and no shipped spec of that name. Shipped specs: {known}. Did you mean methods?"
    assert str(caught.value) == f"methdos: {what}"


def test_a_folder_is_not_a_spec(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="is a folder; give the spec file in it"):
        read(tmp_path)


def test_a_shipped_spec_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read("methods").name == "methods"


def test_no_shipped_spec_has_problems_with_its_shape() -> None:
    assert {name: read(name).problems for name in shipped_specs()} == dict.fromkeys(shipped_specs(), ())


# --set


@pytest.mark.parametrize("text", ["methods[1].rank", "a", "a.b[0][1].c", "model.name"])
def test_a_path_prints_as_it_was_written(text: str) -> None:
    place = key_path.parse_path(text)
    assert place is not None
    assert key_path.format_path(place) == text


@pytest.mark.parametrize("text", ["", ".a", "a.", "a..b", "a[", "a[x]", "a[0]b", "[0"])
def test_a_malformed_path_is_not_parsed(text: str) -> None:
    assert key_path.parse_path(text) is None


def test_an_override_changes_its_leaf_and_is_recorded(workdir: Path) -> None:
    sets = (
        "methods[1].rank=16",
        "train.learning_rate=1e-4",
        "question=off",
        "methods[0].train.weight_decay=0.1",
    )
    planned = plan(workdir, SPEC, sets)
    assert planned.spec.overrides == sets
    assert planned.problems == ()
    assert planned.cell("sft-lora").config({}).method.rank == 16  # type: ignore[union-attr]
    assert planned.cell("sft-lora").config({}).train.learning_rate == 1e-4
    assert planned.cell("sft-full").config({}).train.weight_decay == 0.1
    assert planned.spec.question == "off"


def test_an_override_can_create_a_section_and_change_a_part_of_a_domain(workdir: Path) -> None:
    planned = plan(workdir, SPEC, ("resources.workers=2", "methods[1].rank.choice[0]=2"))
    assert planned.spec.resources.workers == 2
    assert planned.cell("sft-lora").space["method.rank"].probes() == (2, 8)


def test_a_problem_with_an_override_names_the_override(workdir: Path) -> None:
    assert problems(workdir, SPEC, "methods[1].rank=0", "trian.steps=2") == [
        "--set trian.steps trian: unknown key. Did you mean train? Allowed: name, question, model, data, train, "
        "tracking, ... (13 keys)",
        "--set methods[1].rank: got 0; allowed: a whole number, at least 1",
    ]


def test_a_problem_in_an_overridden_section_names_the_sections_override(workdir: Path) -> None:
    assert problems(workdir, SPEC, "search={trials: 0}") == [
        "--set search search.trials: got 0; allowed: a whole number, at least 1"
    ]


@pytest.mark.parametrize(
    ("override", "what"),
    [
        (
            "methods[9].rank=8",
            "--set methods[9].rank: no such place in the spec: methods has 2 entries, 0 to 1",
        ),
        (
            "methods.rank=8",
            "--set methods.rank: no such place in the spec: methods is a list, so an index comes next, "
            "as in methods[0]",
        ),
        (
            "method[1].rank=8",
            "--set method[1].rank: no such place in the spec: the spec has no list method; it has "
            "name, model, "
            "data, stages, methods, train, search, finalists. Did you mean methods?",
        ),
        (
            "train.steps.x=8",
            "--set train.steps.x: no such place in the spec: train.steps is a value, 8; "
            "--set train.steps=... changes it",
        ),
        (
            "train[0]=8",
            "--set train[0]: no such place in the spec: train is a mapping, not a list; it has steps, "
            "batch_size, learning_rate",
        ),
        ("train.steps", "--set train.steps: can't be read. Write path=value, as in --set methods[1].rank=8"),
        ("=8", "--set =8: can't be read. Write path=value, as in --set methods[1].rank=8"),
    ],
)
def test_an_override_that_fits_nowhere_names_the_nearest_place(
    tmp_path: Path, override: str, what: str
) -> None:
    assert refusal(tmp_path, SPEC, override) == what


def test_an_override_whose_value_is_not_yaml_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, SPEC, "train.steps=[1").startswith(
        "--set train.steps: the value '[1' is not YAML"
    )


def test_all_wrong_overrides_are_reported_at_once(tmp_path: Path) -> None:
    assert len(refusal(tmp_path, SPEC, "a", "methods[9]=1").splitlines()) == 2


# Contents


def test_a_good_spec_has_no_problems(workdir: Path) -> None:
    assert problems(workdir, SPEC) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "rank: {choice: [4, 8]}",
            "rank: {log: [64, 8]}",
            "spec.yaml:7 methods[1].rank: log needs 0 < low < high, got low=64, high=8. Swap them?",
        ),
        (
            "rank: {choice: [4, 8]}",
            "rank: {log: [4, 64]}",
            "spec.yaml:7 methods[1].rank: log gives fractions. Write {int: [4, 64], log: true}. "
            "Allowed: a whole number, at least 1",
        ),
        (
            "rank: {choice: [4, 8]}",
            "rank: {choice: [4, 0]}",
            "spec.yaml:7 methods[1].rank: choice [4, 0] contains 0; allowed: a whole number, at least 1",
        ),
        (
            "rank: {choice: [4, 8]}",
            'rank: "8"',
            'spec.yaml:7 methods[1].rank: got the text "8". Leave out the quotes: 8. '
            "Allowed: a whole number, at least 1",
        ),
        (
            "rank: {choice: [4, 8]}",
            "dora: yes",
            'spec.yaml:7 methods[1].dora: got the text "yes". Write true. Allowed: true or false',
        ),
        (
            "rank: {choice: [4, 8]}",
            "targets: [q_proj, 3]",
            "spec.yaml:7 methods[1].targets: got [q_proj, 3]; allowed: all-linear or a text or a list of texts",
        ),
        (
            "rank: {choice: [4, 8]}",
            "targets: [q_porj]",
            "spec.yaml:7 methods[1].targets: no module 'q_porj' in the model. Did you mean q_proj? Adapters can be put "
            "on embed_tokens, lm_head, q_proj, or on all-linear",
        ),
        (
            "rank: {choice: [4, 8]}",
            "init: pisa",
            "spec.yaml:7 methods[1].init: got pisa. Did you mean pissa? "
            "Allowed: one of default, gaussian, pissa, olora, eva",
        ),
        (
            "kind: lora, rank: {choice: [4, 8]}",
            "kind: lroa",
            "spec.yaml:7 methods[1].kind: got lroa. Did you mean lora? "
            "Allowed: one of full, freeze, lora, qlora, peft, lisa, badam, or module:Class, a class of yours",
        ),
        (
            "kind: lora, rank: {choice: [4, 8]}",
            "rank: 8",
            "spec.yaml:7 methods[1]: kind is not given. "
            "Write kind: full, or one of freeze, lora, qlora, peft, lisa, badam",
        ),
        (
            "kind: lora, rank: {choice: [4, 8]}",
            "kind: {choice: [lora, full]}",
            "spec.yaml:7 methods[1].kind: a kind can't be searched, only compared: write {compare: [...]}",
        ),
        (
            "kind: lora, rank: {choice: [4, 8]}",
            "kind: freeze, layers: 0",
            "spec.yaml:7 methods[1]: nothing would train: give layers, modules or head",
        ),
        (
            "kind: lora, rank: {choice: [4, 8]}",
            "kind: freeze, layers: {int: [1, 9]}",
            "spec.yaml:7 methods[1].layers: the model has 2 layers, so 9 can't train",
        ),
        (
            "kind: lora, rank: {choice: [4, 8]}",
            "kind: full",
            "spec.yaml:7 methods[1]: the same as methods[0]. Remove one of them, or make them differ",
        ),
        (
            "kind: lora, rank: {choice: [4, 8]}",
            "kind: lora, name: base",
            "spec.yaml:7 methods[1].name: base is reserved for the untrained model. Choose another name",
        ),
        (
            "kind: lora, rank: {choice: [4, 8]}",
            "kind: lora, name: a/b",
            "spec.yaml:7 methods[1].name: a/b can't be part of a file name. "
            "Use letters, digits, dots, dashes and underscores",
        ),
        (
            "{kind: lora, rank: {choice: [4, 8]}}",
            "lora",
            "spec.yaml:7 methods[1]: got lora; allowed: a mapping, as in methods: [{kind: full}]",
        ),
        (
            "stages: [{kind: sft}]",
            "stages: []",
            "spec.yaml:4 stages: not given. Write a list with at least one entry, such as "
            "stages: [{kind: sft}]",
        ),
        (
            "stages: [{kind: sft}]",
            "stages: sft",
            "spec.yaml:4 stages: got sft. Write a list with at least one entry, such as "
            "stages: [{kind: sft}]",
        ),
        (
            "name: tiny",
            "name: a b",
            "spec.yaml:1 name: a b can't be the name of a run folder. "
            "Use letters, digits, dots, dashes and underscores",
        ),
        (
            "rank: {choice: [4, 8]}",
            "rank: [4, 8]",
            "spec.yaml:7 methods[1].rank: got [4, 8]. To search it, write {choice: [4, 8]}; for a cell of each, "
            "{compare: [4, 8]}. Allowed: a whole number, at least 1",
        ),
        ("name: tiny", "question: [1]", "spec.yaml:1 question: got [1]; allowed: a text"),
        (
            "learning_rate: {log: [1e-4, 5e-3]}",
            "learning_rate: {loguniform: [1e-4, 1]}",
            "spec.yaml:8 train.learning_rate: got {loguniform: [0.0001, 1]}. To search it, "
            "write {log: [0.0001, 1]}. Allowed: a number, above 0",
        ),
        (
            ", learning_rate: {log: [1e-4, 5e-3]}",
            ", optimizer: sgd",
            "spec.yaml:8 train.learning_rate: not given. Write learning_rate: {log: [1e-5, 1e-3]}",
        ),
        (
            "steps: 8",
            "steps: 8, epochs: 2",
            "spec.yaml:8 train: give exactly one of steps and epochs, such as steps: 100",
        ),
        (
            "steps: 8",
            "steps: 8.0",
            "spec.yaml:8 train.steps: got 8.0. Write 8. Allowed: a whole number, at least 1",
        ),
        (
            "train: {steps: 8, batch_size: 2, learning_rate: {log: [1e-4, 5e-3]}}",
            "train: {choice: [1, 2]}",
            "spec.yaml:8 train: a whole section can't be searched. Put the domain on one of its settings",
        ),
        (
            "train: {steps: 8, batch_size: 2, learning_rate: {log: [1e-4, 5e-3]}}",
            "train: 5",
            "spec.yaml:8 train: got 5. Write train: {steps: 100}. Allowed: a mapping",
        ),
        (
            "search: {trials: 3}",
            "search: {trials: {choice: [1, 2]}}",
            "spec.yaml:9 search.trials: the settings of the search can't be searched. Give one value",
        ),
        (
            "search: {trials: 3}",
            "search: 3",
            "spec.yaml:9 search: got 3. Write search: {trials: 8}. Allowed: a mapping",
        ),
        (
            "search: {trials: 3}",
            "search: {sampler: tp}",
            "spec.yaml:9 search.sampler: got tp. Did you mean tpe? Allowed: one of auto, tpe, gp, qmc, "
            "random, cmaes",
        ),
        (
            "search: {trials: 3}",
            "resources: {gpus: 0.3}",
            "spec.yaml:9 resources.gpus: got 0.3; a worker takes whole GPUs, or a half, a third, "
            "a quarter, ... of one, or auto",
        ),
        (
            "search: {trials: 3}",
            "resources: {cpus: {choice: [1, 2]}}",
            "spec.yaml:9 resources.cpus: this is the same for all trials, so it can be neither compared nor searched. "
            "Give one value",
        ),
        (
            "{kind: lora, rank: {choice: [4, 8]}}",
            "{compare: [{kind: lora}, {kind: freeze}]}",
            "spec.yaml:7 methods[1]: got {compare: [{kind: lora}, {kind: freeze}]}; "
            "allowed: a mapping, as in methods: [{kind: full}]",
        ),
        (
            "rank: {choice: [4, 8]}",
            "alpha: 1e400",
            "spec.yaml:7 methods[1].alpha: got inf; allowed: a number, above 0",
        ),
        (
            "search: {trials: 3}",
            "tracking: {wandb: none}",
            "spec.yaml:9 tracking.wandb: got none. Write off. Allowed: one of auto, offline, online, off",
        ),
        (
            "search: {trials: 3}",
            "resources: {workers: 3}",
            "spec.yaml:8 train.batch_size: 2 rows can't be divided evenly among 3 workers; use a multiple of 3",
        ),
        (
            "steps: 8",
            "steps: 8, precision: fp16",
            "spec.yaml:8 train.precision: fp16 needs a GPU; use bf16 or fp32",
        ),
        (
            "eval_fraction: 0.4",
            "eval_fraction: {choice: [0.1, 0.2]}",
            "spec.yaml:3 data.eval_fraction: data.eval_fraction can't be searched, only compared: write "
            "{compare: [...]}",
        ),
        (
            "model: {path: model}",
            "model: {path: model, fingerprint: abc}",
            "spec.yaml:2 model.fingerprint: unknown key; allowed: name, path, dtype, attention, kernels, rope, "
            "unsafe, quantization, from",
        ),
        (
            "model: {path: model}",
            "model: {path: {choice: [model, other]}}",
            "spec.yaml:2 model.path: model.path can't be searched, only compared: write {compare: [...]}",
        ),
        (
            "model: {path: model}",
            "model: {}",
            "spec.yaml:2 model: give exactly one of name and path, such as name: smollm2-135m",
        ),
        (
            "model: {path: model}\n",
            "",
            "spec.yaml:1 model: not given. Write model: {name: smollm2-135m}",
        ),
        (
            "rank: {choice: [4, 8]}",
            "rank: {compare: []}",
            "spec.yaml:7 methods[1].rank: compare needs a list of different values and nothing beside it, "
            "got {compare: []}. Write {compare: [a, b]}",
        ),
    ],
)
def test_a_mistake_is_reported_once_with_its_line_and_what_to_do(
    workdir: Path, old: str, new: str, expected: str
) -> None:
    assert old in SPEC
    assert problems(workdir, SPEC.replace(old, new)) == [expected]


@pytest.mark.parametrize(
    ("section", "key", "hint"),
    [
        ("", "learning_rate: 1", "train.learning_rate"),
        ("", "model_name_or_path: a", "model.name or model.path"),
        ("", "finetuning_type: lora", "methods[].kind"),
        ("", "num_train_epochs: 1", "train.epochs"),
        ("", "per_device_train_batch_size: 1", "train.batch_size"),
        ("", "cutoff_len: 1", "data.cutoff"),
        ("", "val_size: 0.1", "data.eval_fraction"),
        ("", "quantization_bit: 4", "methods[].bits (of qlora)"),
        ("", "rank: 4", "methods[].rank (lora, qlora)"),
        ("", "method: []", "methods"),
        ("", "seed: 4", "train.seed or search.seed"),
        ("train", "optimiser: sgd", "optimizer"),
        ("train", "lr_scheduler_type: cosine", "scheduler"),
        ("methods[1]", "lora_rank: 4", "rank"),
        ("stages[0]", "train_on_promt: true", "train_on_prompt"),
        ("search", "n_trials: 4", "trials"),
        ("", "max_samples: 10", "data.max_samples"),
        ("stages[0]", "pref_beta: 0.1", "stages[].beta"),
    ],
)
def test_an_unknown_key_lists_the_allowed_ones_and_suggests_what_was_meant(
    workdir: Path, section: str, key: str, hint: str
) -> None:
    name, value = key.split(": ")
    path = f"{section}.{name}".removeprefix(".")
    (message,) = problems(workdir, SPEC, f"{path}={value}")
    assert message.startswith(f"--set {path}: unknown key. Did you mean {hint}? Allowed: ")


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("data.max_seq_length", "Did you mean cutoff?"),
        ("data.sequence_len", "Did you mean cutoff?"),
        ("data.split_dataset_ratio", "Did you mean eval_fraction?"),
        ("methods[0].r", "Did you mean methods[].rank?"),
        ("methods[0].lora_r", "Did you mean methods[].rank?"),
        ("methods[0].task_type", "the stage decides it: leave it out"),
        ("stages[0].rlhf_type", "kind says that already. Leave it out"),
        ("stages[0].assistant_only_loss", "only answers are learned"),
        ("train.micro_batch_size", "Did you mean batch_size?"),
        ("train.sample_packing", "Did you mean packing?"),
        ("train.learning_rate_multiplier", "give the rate itself in train.learning_rate"),
    ],
)
def test_keys_of_other_tools_are_named_as_they_are_called_here(workdir: Path, key: str, hint: str) -> None:
    (message,) = problems(workdir, SPEC, f"{key}=1")
    assert message.partition("unknown key")[2].lstrip(".; ").startswith(hint)


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("methods[0].kind=dora", ". It is a setting of lora: {kind: lora, dora: true}"),
        ("stages[0].kind=rloo", ". It is not there; of the stages, grpo and ppo learn from rewards"),
    ],
)
def test_kinds_of_other_tools_are_not_taken_for_misspelt_ones(
    workdir: Path, override: str, hint: str
) -> None:
    assert problems(workdir, SPEC, override)[0].partition(". Allowed: ")[0].endswith(hint)


def test_the_rows_that_are_missing_or_too_few_are_a_problem_of_data_train(workdir: Path) -> None:
    (missing,) = problems(workdir, SPEC.replace("rows.jsonl", "comands"))
    assert missing.startswith("spec.yaml:3 data.train: ")
    assert missing.endswith("Did you mean commands?")
    (workdir / "empty.jsonl").write_text("")
    (empty,) = problems(workdir, SPEC.replace("rows.jsonl", "empty.jsonl"))
    assert "data.train: empty.jsonl: the file is empty" in empty
    (workdir / "one.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    (few,) = problems(workdir, SPEC.replace("rows.jsonl", "one.jsonl"))
    assert "leaves none for the" in few


def test_a_model_that_is_not_there_is_an_error_but_one_that_can_be_fetched_a_warning(workdir: Path) -> None:
    (unknown,) = plan(workdir, SPEC.replace("path: model", "name: smollm2-135")).problems
    assert (unknown.error, unknown.path) == (True, "model.name")
    assert unknown.what.endswith("Did you mean smollm2-135m?")
    (absent,) = plan(workdir, SPEC.replace("path: model", "path: nowhere")).problems
    assert (absent.error, absent.path) == (True, "model.path")
    later = plan(workdir, SPEC.replace("path: model", "name: smollm2-135m"))
    assert [str(p).replace(f"{workdir}/", "") for p in later.warnings] == [
        "spec.yaml:2 model.name: smollm2-135m is not on this machine yet, so its memory is predicted by its known "
        "dimensions, for rows as long as data.cutoff; run fetches it, and so does paretune fetch smollm2-135m"
    ]
    assert later.errors == ()
    assert len(later.cells) == 2
    peaks = [cell.predicted.largest for cell in later.cells if cell.predicted is not None]
    assert [(peak.tokens, peak.model.shape.params) for peak in peaks] == [(1024, 134_515_008)] * 2
    assert all(10**8 < peak.peak_bytes < 10**11 for peak in peaks)


def test_all_problems_are_reported_in_the_order_of_the_file(workdir: Path) -> None:
    text = (
        SPEC.replace("name: tiny", "name: a b").replace("[4, 8]", "[4, 4]").replace("trials: 3", "trials: 0")
    )
    text = text.replace("path: model", "path: nowhere").replace("rows.jsonl", "none.jsonl")
    text = text.replace("steps: 8", "step: 8")
    found = problems(workdir, text)
    lines = [int(problem.split(" ")[0].rpartition(":")[2]) for problem in found]
    assert lines == [1, 2, 3, 7, 8, 9]


def test_without_a_valid_stage_or_method_the_rest_is_checked_all_the_same(workdir: Path) -> None:
    text = (
        SPEC.replace("{kind: sft}", "{kind: stf}").replace("steps: 8", "steps: 0").replace("[4, 8]", "[0, 8]")
    )
    assert [problem.split(":")[1][:15] for problem in problems(workdir, text)] == [
        "4 stages[0].kin",
        "7 methods[1].ra",
        "8 train.steps",
    ]
    assert plan(workdir, text).cells == ()
    text = SPEC.replace(ONE, "  - {kind: lroa}\n").replace("steps: 8", "steps: 0")
    assert [problem.split(":")[1] for problem in problems(workdir, text)] == [
        "6 methods[0].kind",
        "7 train.steps",
    ]


def test_a_problem_that_many_cells_share_is_reported_once(workdir: Path) -> None:
    text = SPEC.replace(ONE, "".join(f"  - {{kind: lora, rank: {n}}}\n" for n in range(1, 9)))
    assert len(problems(workdir, text.replace("batch_size: 2", "batch_size: 0"))) == 1


def test_a_wrong_leaf_hides_no_other_and_causes_no_other(workdir: Path) -> None:
    text = SPEC.replace("steps: 8", "steps: {int: [8, 4]}")
    assert problems(workdir, text) == [
        "spec.yaml:8 train.steps: int needs low < high, got low=8, high=4. Swap them?"
    ]


def test_two_entries_of_one_name_are_refused(workdir: Path) -> None:
    text = SPEC.replace(ONE, "  - {kind: full, name: x}\n  - {kind: lora, name: x}\n")
    assert problems(workdir, text) == [
        "spec.yaml:7 methods[1].name: methods[0] is named x too. Rename one of them"
    ]


def test_the_nearest_name_is_found_whatever_its_case() -> None:
    assert nearest("LORA", ["full", "lora"]) == "lora"
    assert nearest("zzz", ["full", "lora"]) is None


def test_a_gpu_may_be_shared_in_equal_parts_only() -> None:
    for gpus in (0, 0.25, 1 / 3, 0.5, 1, 4):
        assert ResourcesConfig(gpus=gpus).gpus == gpus
    for gpus in (0.3, 0.75, 1.5):
        with pytest.raises(ValueError, match="whole GPUs"):
            ResourcesConfig(gpus=gpus)


def test_what_a_spec_does_not_say_has_a_default() -> None:
    assert SearchConfig() == SearchConfig(
        trials=8, sampler="auto", scheduler="asha", seed=0, reduction_factor=3
    )


def test_reading_and_planning_import_nothing_heavy() -> None:
    code = (
        "import sys, sweeps.spec.spec, sweeps.planning.plan, sweeps.console.plan_table, sweeps.spec.domain_parser\n"
        "print([name for name in ('torch', 'transformers', 'ray', 'optuna') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (
            "{finetuning_type: lora, rank: 8}",
            "kind is not given. Write kind: lora in place of finetuning_type: lora",
        ),
        ("{kind: lora, finetuning_type: lora}", "unknown key; kind says that already. Leave it out"),
        (
            "{kind: lora, bits: 4}",
            "lora has no bits. qlora and peft have it: write kind: qlora, or leave bits out",
        ),
        (
            "{kind: qlora, bits: 3}",
            "bits: bnb has 4 or 8 bits, not 3. Write backend: hqq, which has 1 to 6 and 8",
        ),
        ("{kind: lora, do_train: true}", "unknown key; a sweep always trains: leave it out"),
        (
            "{kind: [lora, freeze]}",
            "got [lora, freeze]. For a cell of each, write {compare: [lora, freeze]}. "
            "Allowed: one of full, freeze, lora, qlora, peft, lisa, badam, or module:Class, a class of yours",
        ),
        (
            "{kind: lora, rank: 8, alpha: 0,5}",
            "a key that is a number; a number with a comma is written with a point",
        ),
    ],
)
def test_a_method_as_another_tool_writes_it_is_followed_by_what_to_write(
    workdir: Path, written: str, expected: str
) -> None:
    messages = problems(workdir, SPEC.replace("{kind: lora, rank: {choice: [4, 8]}}", written))
    assert any(expected in message for message in messages)


def test_two_learning_rates_are_the_ends_of_a_range(workdir: Path) -> None:
    (message,) = problems(workdir, SPEC.replace("{log: [1e-4, 5e-3]}", "[1e-4, 5e-3]"))
    assert (
        "got [0.0001, 0.005]. To search between them, write {log: [0.0001, 0.005]}; for a cell of each"
        in message
    )


def test_a_models_name_and_a_file_are_short_for_mappings(workdir: Path) -> None:
    planned = plan(
        workdir,
        SPEC.replace("{path: model}", "model").replace(
            "data: {train: rows.jsonl, eval_fraction: 0.4}", "data: rows.jsonl"
        ),
    )
    assert not planned.errors
    config = planned.cells[0].first()
    assert (str(config.model.path), str(config.data.train)) == (
        str(workdir / "model"),
        str(workdir / "rows.jsonl"),
    )
    assert planned.spec.resolved()["model"]["path"] == "model"
    named = read(
        workdir / "spec.yaml", ["model=smollm2-135m", "data.eval_fraction=0.3", "methods[1].model=./model"]
    )
    assert named.resolved()["model"]["name"] == "smollm2-135m"
    assert (
        named.resolved()["data"] | {"train": "rows.jsonl", "eval_fraction": 0.3} == named.resolved()["data"]
    )
    assert str(named.source.tree["methods"][1]["model"]["path"]).endswith("model")
    (unknown,) = problems(workdir, SPEC.replace("{path: model}", "smollm2-13m"))
    assert unknown.startswith("spec.yaml:2 model.name: ")
    assert unknown.endswith("Did you mean smollm2-135m?")


def test_a_list_of_models_names_compares_them(workdir: Path) -> None:
    cells = plan(workdir, SPEC.replace("{path: model}", "[smollm2-135m, ./model]")).spec.source.tree["model"]
    assert cells == [{"name": "smollm2-135m"}, {"path": "./model"}]
