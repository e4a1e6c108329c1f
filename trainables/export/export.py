"""Exporting a result: merged weights that plain transformers loads, or the adapter alone.

>>> export(result, Path("out"), ExportOptions(), print, wilson)  # doctest: +SKIP
"""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from trainables.export import (
    gguf,
    license,
    loading_example,
    merge_effect,
    model_card,
    ollama,
    output_folder,
    saved_model,
    verify,
)
from trainables.export.exported import Exported, ExportOptions
from trainables.export.output_folder import ExportFailed
from trainables.inference.model_pool import ModelPool, result_tokenizer
from trainables.inference.result import Result
from trainables.models.folder import ADDED_ROWS, ModelError
from trainables.models.merge_adapter import merge_adapter
from trainables.storage import files
from trainables.trial import starting_weights

SLACK_BYTES = 2**26  # for tokenizer, configs, card
NO_REWARD_CLASS = (
    "transformers has no class with such a head for this family: the weights load after the lines of Python in "
    "README.md, which make one"
)

Log = Callable[[str], None]  # reports progress


def export(
    result: Result, out: Path, options: ExportOptions, log: Log, interval: model_card.ShareInterval
) -> Exported:
    """Writes a result to the folder ``out``, completely or not at all.

    ``log`` is called with each step; ``interval`` is for the scores of the model card. Raises ``ModelError`` for a
    mistake of the user, before anything is written, and ``ExportFailed`` if what was written is not what it should be.
    """
    check_options(result, options)
    output_folder.check_output(out, options.force)
    sources = [result.folder(), *([result.trained_folder] if result.trained_folder else [])]
    needed = _needed_bytes(result, options)
    with output_folder.new_output_folder(out, options.force, needed, sources) as folder:
        write = _export_adapter if options.adapter else _export_whole_model
        exported = write(result, options, folder, log)
        notes = (
            (*exported.notes, NO_REWARD_CLASS)
            if loading_example.reward_class_code(result)
            else exported.notes
        )
        exported = replace(exported, bytes=files.folder_bytes(folder), notes=notes)
        model_card.render(result, exported, interval).save(folder / model_card.NAME)
    return replace(exported, folder=out.expanduser().resolve())


def check_options(result: Result, options: ExportOptions) -> None:
    """Raises ``ModelError`` for options that don't go with the result or with one another."""
    if options.adapter and not result.is_adapter:
        raise ModelError(f"{result.name} has no adapter of its own: leave --adapter out")
    if options.adapter and (options.dtype or options.gguf or options.ollama):
        raise ModelError(
            "--adapter copies the adapter unchanged: it can't be combined with --dtype, --gguf or --ollama"
        )
    if options.adapter and result.config.model.start is not None:
        raise ModelError(
            f"{result.name}'s adapter only fits the result of {result.config.model.start.label}, which others don't "
            "have: leave --adapter out, and both are merged"
        )
    if (options.gguf or options.ollama) and not result.generates_text:
        is_a = "classifier" if result.classifies else "reward model"
        is_a = "model of masked tokens" if result.predicts_masked else is_a
        raise ModelError(f"{result.name} is a {is_a}, which --gguf and --ollama can't serve")


def _needed_bytes(result: Result, options: ExportOptions) -> int:
    """The most disk space that an export takes, in bytes."""
    if options.adapter:
        assert result.trained_folder is not None
        return files.folder_bytes(result.trained_folder) + SLACK_BYTES
    count = saved_model.count_elements(result.folder())
    element_bytes = saved_model.ITEM_BYTES[options.dtype or saved_model.native_dtype(result)]
    gguf_bytes = gguf.TYPES[options.gguf] if options.gguf else 0
    # The GGUF file is made from the safetensors, so both are on the disk in the end.
    return int(count * (element_bytes + gguf_bytes)) + SLACK_BYTES


def _export_adapter(result: Result, options: ExportOptions, folder: Path, log: Log) -> Exported:
    assert result.trained_folder is not None
    starting_weights.check_trained_folder(result.trained_folder)
    weights = "adapter_model.safetensors"
    shutil.copyfile(result.trained_folder / weights, folder / weights, follow_symlinks=True)
    saved_model.save_adapter_config(result.trained_folder, folder, result.config.model)
    saved_model.save_tokenizer(result_tokenizer(result), folder)
    notes = [f"the adapter is unchanged and belongs to {license.public_name(result.config.model)}"]
    if (result.folder() / ADDED_ROWS).is_file():
        notes.append(
            "the base model's embedding had no rows for some tokens; before training it got them, each the mean of the "
            "other rows"
        )
    return Exported(folder, 0, None, notes=tuple(notes))


def _export_whole_model(result: Result, options: ExportOptions, folder: Path, log: Log) -> Exported:
    dtype = options.dtype or saved_model.native_dtype(result)
    log(f"{'merging and ' if result.is_adapter else ''}writing {dtype}")
    check = _write_and_verify(result, dtype, options, folder, log)
    if check is not None and check.failure is not None:
        raise ExportFailed(f"{check.failure}. Nothing was kept; --no-verify would keep it")
    notes = [] if check else ["not checked whether it answers as before the export (--no-verify)"]
    change: merge_effect.ScoreChange | str | None = None
    if merge_effect.changes_base(result):
        change = merge_effect.measure_change(result, folder, dtype, log) if options.verify else "--no-verify"
    if isinstance(change, str):
        notes.append(f"the change in score by merging was not measured: {change}")
        change = None
    if options.gguf and options.converter:
        log(f"converting to GGUF {options.gguf}")
        gguf.convert(folder, options.converter, options.gguf)
    if options.ollama:
        ollama.write(folder, result_tokenizer(result), saved_model.end_ids(folder))
    return Exported(folder, 0, dtype, check, change, tuple(notes))


def _write_and_verify(
    result: Result, dtype: str, options: ExportOptions, folder: Path, log: Log
) -> verify.Check | None:
    """Writes the whole model. Returns how its outputs compare with the result's; ``None`` with ``--no-verify``."""
    if not options.verify:
        _merge_and_save(result, dtype, options, folder)
        return None
    prompts = verify.choose_prompts(result, result_tokenizer(result))
    log(f"comparing the answers to {len(prompts.ids)} {prompts.source}")
    written = _merge_and_save(result, dtype, options, folder, prompts)
    # The same model in the target dtype without merging: how far rounding alone moves its outputs.
    with ModelPool().load(saved_model.unquantized(result, dtype)).active() as policy:
        rounded = verify.model_outputs(policy.model, prompts, result.predicts_tokens)
    rounding, from_files = (
        verify.compare(each, written.exact, result.predicts_tokens) for each in (rounded, written.from_files)
    )
    return verify.Check(
        prompts, dtype, written.sum, rounding, from_files, written.changed, written.float_error
    )


@dataclass(frozen=True)
class _Written:
    """The outputs for the prompts: ``exact`` ones in 32 bits, and those of the model that was loaded from the files.

    ``sum``: how far the merged weights' outputs in 32 bits are from the exact ones; ``None`` if nothing was merged.
    ``float_error``: how far they are from those in 64 bits; ``None`` where ``sum`` is small.
    ``changed``: names of weights that differ in the files.
    """

    exact: list[Tensor] = field(default_factory=list)
    sum: verify.Difference | None = None
    float_error: verify.Difference | None = None
    from_files: list[Tensor] = field(default_factory=list)
    changed: tuple[str, ...] = ()


def _merge_and_save(
    result: Result, dtype: str, options: ExportOptions, folder: Path, prompts: verify.Prompts | None = None
) -> _Written:
    """Merges in 32 bits, and saves in ``dtype``; with ``prompts``, measures the outputs at each step."""
    written, is_lm = _Written(), result.predicts_tokens
    with ModelPool().load(saved_model.unquantized(result, "float32")).active() as policy:
        # The exported files run with the same one, as another would add rounding errors of its own.
        attention = policy.causal.config._attn_implementation
        if prompts:
            written = replace(written, exact=verify.model_outputs(policy.model, prompts, is_lm))
        # Merging changes the policy's model in place, so the exact outputs come first.
        whole = merge_adapter(policy.model) if result.is_adapter else policy.model
        if prompts and result.is_adapter:
            outputs = verify.model_outputs(whole, prompts, is_lm)
            written = replace(written, sum=verify.compare(outputs, written.exact, is_lm))
        chats = result.generates_text
        saved_model.save_model(replace(policy, model=whole), folder, dtype, options.shard_bytes, chats)
        if prompts:
            loaded = saved_model.load_exported(folder, result, dtype, attention)
            changed = verify.changed_weights(whole, loaded)
            from_files = verify.model_outputs(loaded, prompts, is_lm)
            written = replace(written, changed=changed, from_files=from_files)
            if written.sum is not None and not written.sum.excess <= 1:
                del loaded
                in_64_bits = verify.model_outputs(whole.double(), prompts, is_lm)
                written = replace(written, float_error=verify.compare(outputs, in_64_bits, is_lm))
    # The caller may load the model once more and needs the memory of these two.
    gc.collect()
    return written
