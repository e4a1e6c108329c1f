"""What differs from a LLaMA-Factory run of the same data set, where its registry, ``dataset_info.json``, lists it.

Its defaults are those of version 0.9.5 (``hparams/data_args.py``, ``data/loader.py``, ``data/processor/pretrain.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sweeps.planning.draft import Draft
from sweeps.spec.tree import CellPath, node_at
from trainables.data import dataset_info
from trainables.data.rows import Text
from trainables.templates.elsewhere import SAME_NAME
from trainables.trial.config import TrialConfig

CUTOFF = 2048  # its cutoff_len


def difference_notes(draft: Draft, config: TrialConfig) -> tuple[str, ...]:
    """A note with all differences that come of defaults, and of a template's name; none for other data."""
    folder = config.data.folder
    names = (
        dataset_info.read_registry(folder).keys() & set(config.data.names) if folder is not None else set()
    )
    if folder is None or not names:
        return ()
    differences = [*_differences(draft, config), *_of_entries(config, sorted(names))]
    listed = "; ".join(differences)
    where = f"as dataset_info.json lists {', '.join(sorted(names))}"
    return (f"{where}, what differs from a LLaMA-Factory run by its defaults: {listed}",) if listed else ()


def _differences(draft: Draft, config: TrialConfig) -> Iterator[str]:
    def given(*paths: CellPath) -> bool:
        return any(node_at(draft.parts, path) is not None for path in paths)

    data = config.data
    if not given(("data", "cutoff")):
        yield f"rows have up to {data.cutoff:,} tokens here and {CUTOFF:,} there (data.cutoff)"
    if not given(("data", "eval"), ("data", "eval_fraction"), ("data", "eval_count")):
        yield f"{data.eval_fraction:.0%} of the prompts are held out here and none there (data.eval_fraction)"
    if config.stage.row_type is not Text:
        if not given(("data", "template")):
            yield (
                "conversations are rendered by the model's own chat template here, and by parts of it, alike for all "
                "turns, there (data.template)"
            )
        if data.template in SAME_NAME:
            yield f"template {data.template}: {SAME_NAME[data.template]}"
        yield "answers without text are left out here and learned there"
    elif not given(("train", "packing")):
        yield "texts have rows of their own here and are one stream there (train.packing: stream)"


def _of_entries(config: TrialConfig, names: Iterable[str]) -> Iterator[str]:
    """What entries of the registry mean otherwise there."""
    for name in names:
        entry = dataset_info.find_entry(config.data.folder, name) if config.data.folder is not None else None
        if entry is None:
            continue
        if entry.num_samples is not None:
            count = f"{entry.num_samples:,}"
            yield f"num_samples of {name} are its first {count} rows here and drawn there (data.num_samples)"
        if entry.formatting == "openai" and config.stage.row_type is not Text:
            yield f'system texts of {name} are as they are here, and end with "detailed thinking off" there'
