"""``model.quantization`` is short for a method's own settings: it turns a lora into a qlora."""

from __future__ import annotations

from sweeps.spec.problems import Problem, format_value
from sweeps.spec.source import Source
from sweeps.spec.tree import Branch, Leaf, Node
from trainables.quantizers import QUANTIZERS
from trainables.system.suggestions import did_you_mean

PATH = ("model", "quantization")
QUANTIZED_KINDS = {"lora": "qlora", "qlora": "qlora", "peft": "peft"}  # method kinds, with and without it
NONE = (None, "none")
EXAMPLES = (
    f"none, 8, 4, or {', '.join(f'{{{name}: {value.bits[-1]}}}' for name, value in QUANTIZERS.items())}"
)
ALIASES = {"bitsandbytes": "bnb"}


def move_to_method(cell: Branch, source: Source) -> tuple[Branch, list[Problem]]:
    """The cell with the model's quantization moved to its method, and the problems in the way.

    >>> move_to_method(cell, source)  # model: {quantization: {bnb: 4}}, method: {kind: lora}  # doctest: +SKIP
    (Branch(... method: {kind: qlora, backend: bnb, bits: 4} ...), [])
    """
    model, method = cell.get("model"), cell.get("method")
    if not isinstance(model, Branch) or (written := model.get("quantization")) is None:
        return cell, []
    cell = cell.adding(model=model.without("quantization"))
    # An entry's `quantization: none` takes back what the spec says for all cells.
    if written.plain() in NONE:
        return cell, []
    settings = _qlora_settings(written)
    if isinstance(settings, str):
        return cell, [source.problem(written.origin, settings)]
    assert isinstance(method, Branch)
    kind = method.plain()["kind"]
    if kind not in QUANTIZED_KINDS:
        what = f"{kind} trains the base model's weights, which quantization freezes. Use lora, qlora or peft"
        return cell, [source.problem(written.origin, what)]
    problems = [
        problem
        for key, node in settings.items()
        if (problem := _contradiction(method, key, node, source)) is not None
    ]
    # The method's own values stay; one that differs is among the problems.
    added: dict[str, Node] = {key: node for key, node in settings.items() if method.get(key) is None}
    # `kind` stays the first key: labels and readers look for it there.
    quantized = method.adding(kind=Leaf(QUANTIZED_KINDS[kind], method.children["kind"].origin), **added)
    return cell.adding(method=quantized), problems


def _qlora_settings(written: Node) -> dict[str, Node] | str:
    """QLoRA's settings for the value of ``model.quantization``, or what is wrong with it.

    ``{hqq: 4, group_size: 32}`` is short for ``{backend: hqq, bits: 4, group_size: 32}``.
    """
    if not isinstance(written, Branch):
        value = written.plain()
        if isinstance(value, str):
            near = did_you_mean(value, QUANTIZERS)
            return near.within(f"got {format_value(value)}; allowed: {EXAMPLES}{near}")
        return {"bits": written}
    settings = dict(written.children)
    quantizers = [key for key in settings if ALIASES.get(key, key) in QUANTIZERS]
    if not quantizers:
        return settings
    if len(quantizers) > 1 or {"backend", "bits"} & settings.keys():
        return f"got {format_value(written.plain())}, which gives the quantizer or the bits twice; write {EXAMPLES}"
    (name,) = quantizers
    bits = settings.pop(name)
    return {"backend": Leaf(ALIASES.get(name, name), bits.origin), "bits": bits, **settings}


def _contradiction(method: Branch, key: str, wanted: Node, source: Source) -> Problem | None:
    """A setting that the method itself gives another value than ``model.quantization`` does."""
    current = method.get(key)
    if current is None or current.plain() == wanted.plain():
        return None
    values = format_value(current.plain()), format_value(wanted.plain())
    what = f"{values[0]} here, but model.quantization says {values[1]}. Keep one of the two"
    return source.problem(current.origin, what)
