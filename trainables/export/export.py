"""Taking a result away: whole weights that plain transformers loads, or the adapter alone.

>>> export(result, Path("out"), Options())  # doctest: +SKIP
"""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from trainables.export import (
    gguf,
    license,
    merge_effect,
    model_card,
    ollama,
    output_folder,
    saved_model,
    verify,
)
from trainables.export.exported import Exported, ExportOptions
from trainables.export.output_folder import ExportFailed
from trainables.inference.model_pool import ModelPool
from trainables.inference.model_pool import result_tokenizer as tokenizer_of
from trainables.inference.result import Result
from trainables.models.folder import ADDED_ROWS, ModelError
from trainables.models.merge_adapter import merge_adapter
from trainables.storage import files
from trainables.trial import starting_weights

SLACK = 2**26  # bytes: tokenizer, configs, card


Say = Callable[[str], None]


def export(result: Result, out: Path, options: ExportOptions, say: Say, interval: model_card.ShareInterval) -> Exported:
    """Writes a result to the folder ``out``, whole or not at all.

    ``say`` is told what is done; ``interval`` gives a share of so many rows its interval. Raises ``ModelError`` for
    what the user got wrong, before anything is written, ``ExportFailed`` where what was made is not what it should be.
    """
    check_options(result, options)
    output_folder.check_output(out, options.force)
    below = result.folder()
    sources = [below, *([result.trained_folder] if result.trained_folder else [])]
    with output_folder.new_output_folder(out, options.force, _room(result, options), sources) as folder:
        make = _adapter_alone if options.adapter else _whole
        found = replace(make(result, options, folder, say), bytes=files.folder_bytes(folder))
        text = model_card.render(result, found, interval)
        (folder / model_card.NAME).write_text(text, encoding="utf-8")
        _readable(folder)
    return replace(found, folder=out.expanduser().resolve())


def _readable(folder: Path) -> None:
    """Weights are written for their owner alone; an export is for others too."""
    for file in folder.iterdir():
        if file.is_file():
            file.chmod(0o644)


def check_options(result: Result, options: ExportOptions) -> None:
    """Raises ``ModelError`` for what can't be, before any work."""
    if options.adapter and not result.is_adapter:
        raise ModelError(f"{result.name} has no adapter of its own: leave --adapter out")
    if options.adapter and (options.dtype or options.gguf or options.ollama):
        raise ModelError(
            "--adapter copies the adapter as it is: it goes without --dtype, --gguf and --ollama"
        )
    if options.adapter and result.config.model.start is not None:
        raise ModelError(
            f"{result.name}'s adapter fits only on what {result.config.model.start.label} left, which has no name "
            "elsewhere: leave --adapter out, and both are merged"
        )
    if (options.gguf or options.ollama) and not result.generates_text:
        raise ModelError(
            f"{result.name} is a reward model: it says nothing that --gguf or --ollama could serve"
        )


def _room(result: Result, options: ExportOptions) -> int:
    """The bytes that an export takes at most."""
    if options.adapter:
        assert result.trained_folder is not None
        return files.folder_bytes(result.trained_folder) + SLACK
    count = saved_model.count_elements(result.folder())
    each = saved_model.ITEM_BYTES[options.dtype or saved_model.native_dtype(result)]
    return int(count * (each + (gguf.TYPES[options.gguf] if options.gguf else 0))) + SLACK


def _adapter_alone(result: Result, options: ExportOptions, folder: Path, say: Say) -> Exported:
    assert result.trained_folder is not None
    starting_weights.refuse_pickles(result.trained_folder)
    shutil.copyfile(
        result.trained_folder / "adapter_model.safetensors", folder / "adapter_model.safetensors", follow_symlinks=True
    )
    saved_model.save_adapter_config(result.trained_folder, folder, result.config.model)
    saved_model.save_tokenizer(tokenizer_of(result), folder)
    notes = [f"the adapter is what the trial left; it goes on {license.public_name(result.config.model)}"]
    if (result.folder() / ADDED_ROWS).is_file():
        notes.append("the base's embedding had got rows for tokens that have none, the mean of the others")
    return Exported(folder, 0, None, notes=tuple(notes))


def _whole(result: Result, options: ExportOptions, folder: Path, say: Say) -> Exported:
    dtype = options.dtype or saved_model.native_dtype(result)
    say(f"{'merging and ' if result.is_adapter else ''}writing {dtype}")
    check = _written(result, dtype, options, folder, say)
    if check is not None and check.failure is not None:
        raise ExportFailed(f"{check.failure}. Nothing was kept; --no-verify would keep it")
    notes = [] if check else ["that it answers as it did was not checked (--no-verify)"]
    change: merge_effect.ScoreChange | str | None = None
    if merge_effect.changes_base(result):
        change = merge_effect.measure_change(result, folder, dtype, say) if options.verify else "--no-verify"
    if isinstance(change, str):
        notes.append(f"the change in score by merging was not measured: {change}")
        change = None
    _served(result, options, folder, say)
    return Exported(folder, 0, dtype, check, change, tuple(notes))


def _served(result: Result, options: ExportOptions, folder: Path, say: Say) -> None:
    """The forms that other servers take."""
    if options.gguf and options.converter:
        say(f"converting to GGUF {options.gguf}")
        gguf.convert(folder, options.converter, options.gguf)
    if options.ollama:
        ollama.write(folder, tokenizer_of(result), saved_model.end_ids(folder))


def _written(result: Result, dtype: str, options: ExportOptions, folder: Path, say: Say) -> verify.Check | None:
    """Writes the whole model; how what was written compares, unless that is not asked for."""
    if not options.verify:
        _saved(result, dtype, options, folder)
        return None
    prompts = verify.choose_prompts(result, tokenizer_of(result))
    say(f"comparing the answers to {len(prompts.ids)} {prompts.source}")
    expected, total, found, strange = _saved(result, dtype, options, folder, prompts)
    with ModelPool().load(saved_model.unquantized(result, dtype)).active() as policy:
        own = verify.model_outputs(policy.model, prompts, result.generates_text)
    rounding, files_ = (verify.compare(each, expected, result.generates_text) for each in (own, found))
    return verify.Check(prompts, dtype, total, rounding, files_, strange)


def _saved(
    result: Result, dtype: str, options: ExportOptions, folder: Path, prompts: verify.Prompts | None = None
) -> tuple[list[Tensor], verify.Difference | None, list[Tensor], tuple[str, ...]]:
    """Merges in 32 bits and saves. The exact answers to the prompts, how far the sum's are from them, the files' own,
    and the weights that the files have otherwise.
    """
    expected: list[Tensor] = []
    found: list[Tensor] = []
    total: verify.Difference | None = None
    strange: tuple[str, ...] = ()
    with ModelPool().load(saved_model.unquantized(result, "float32")).active() as policy:
        attention = policy.causal.config._attn_implementation
        if prompts:
            expected = verify.model_outputs(policy.model, prompts, result.generates_text)
        whole = merge_adapter(policy.model) if result.is_adapter else policy.model
        if prompts and result.is_adapter:
            total = verify.compare(verify.model_outputs(whole, prompts, result.generates_text), expected, result.generates_text)
        saved_model.save_model(replace(policy, model=whole), folder, dtype, options.shard_bytes, result.generates_text)
        if prompts:
            loaded = saved_model.load_exported(folder, result, dtype, attention)
            strange = verify.changed_weights(whole, loaded)
            found = verify.model_outputs(loaded, prompts, result.generates_text)
    gc.collect()
    return expected, total, found, strange
