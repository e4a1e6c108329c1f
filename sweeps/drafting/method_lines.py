"""The methods of a proposed spec: their entries, and why they were chosen or left out, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sweeps.drafting.methods import CANDIDATES, RANKS, Memory, MethodChoice, fitting_names
from sweeps.drafting.spec_text import Section, Setting
from sweeps.planning.memory.cell_memory import SAFETY_FACTOR
from trainables.system.byte_sizes import gib

METHOD_COMMENTS = {
    "full": "all weights are trained",
    "freeze": "some layers are trained, the others stay as they are",
    "lora": "small matrices beside the weights are trained",
    "qlora": "as lora, on weights in 4 bits: less memory",
}


def method_entries(
    choice: MethodChoice, own: Sequence[Setting | Section] = (), own_kind: str | None = None
) -> list[list[Setting | Section]]:
    """The entries of the methods that fit; ``own``: one that is given, which stands first and replaces its kind."""
    entries = [list(own)] if own else []
    for name in fitting_names(choice):
        if name != own_kind:
            entries.append(list(_method_entry(name, choice)))
    return entries


def _method_entry(name: str, choice: MethodChoice) -> Iterator[Setting]:
    comment = METHOD_COMMENTS[name]
    if (peak := choice.peaks.get(name)) is not None:
        comment += f"; predicted peak {gib(peak, '.2f')}"
    yield Setting("kind", name, comment)
    if "bits" in CANDIDATES[name]:
        yield Setting("bits", CANDIDATES[name]["bits"])
    if "rank" in CANDIDATES[name]:
        yield Setting("rank", {"choice": list(RANKS)}, "searched: the size of the small matrices")


def left_out_methods(choice: MethodChoice, memory: Memory, own_kind: str | None = None) -> list[str]:
    """Why methods are not proposed, in sentences; the one that is given is there in any case."""
    if choice.unknown is not None:
        return [f"their memory could not be predicted: {choice.unknown}"]
    if not choice.methods:
        return [f"none fits in the {memory.place} by prediction; the smallest is tried all the same"]
    return [
        f"left out: {name}, which {reason}" for name, reason in choice.left_out.items() if name != own_kind
    ]


def memory_choice(choice: MethodChoice, memory: Memory) -> str:
    """Which methods were chosen, and by what, in a sentence."""
    names = ", ".join(fitting_names(choice))
    if choice.unknown is not None:
        return f"methods: {names}; how much memory they need is unknown ({choice.unknown})"
    place = f"{gib(memory.usable_bytes, '.3g')} of {memory.place}" if memory.usable_bytes else memory.place
    peaks = ", ".join(f"{name} {gib(peak, '.2f')}" for name, peak in choice.peaks.items())
    how = [
        *(["gradient checkpointing"] if choice.checkpointing else []),
        *([f"batches of {choice.batch_size}"] if choice.gradient_accumulation > 1 else []),
    ]
    with_ = f" with {' and '.join(how)}" if how else ""
    left = "".join(f"; {name} {reason}" for name, reason in choice.left_out.items())
    fits = (
        f"fit in {place}{with_}" if choice.methods else f"is the smallest, and too large for {place}{with_}"
    )
    return f"methods: {names} {fits} (predicted peaks: {peaks}){left}{_short_now(choice, memory)}"


def _short_now(choice: MethodChoice, memory: Memory) -> str:
    """That other processes use what a method needs, to append to a sentence."""
    largest = max((choice.peaks[name] for name in choice.methods if name in choice.peaks), default=0)
    if not 0 < memory.free_bytes < largest * SAFETY_FACTOR:
        return ""
    return f"; only {gib(memory.free_bytes, '.3g')} are free now, and paretune plan says what fits in them"
