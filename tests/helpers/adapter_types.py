"""The table of PEFT's adapter types in ``trainables/README.md``, made from the installed PEFT and what plans accept.

python -m tests.helpers.adapter_types      writes it anew
"""

from __future__ import annotations

from tests.helpers.paths import ROOT
from trainables.methods import peft_options

DOCUMENT = ROOT / "trainables/README.md"
BEGIN, END = "<!-- adapter types: begin -->\n", "<!-- adapter types: end -->"
LORA = "lora"  # a method of its own


def rows() -> dict[str, tuple[str, str, str]]:
    """By type: whether it can be a method, whether ``export`` merges it, and in how many bits its base may be held."""
    return {name: _row(name) for name in peft_options.known_types()}


def table() -> str:
    """The table, with its last line's end."""
    lines = ["| type | trains | merges | on a base in 4 or 8 bits |", "|---|---|---|---|"]
    lines += [f"| `{name}` | {' | '.join(cells)} |" for name, cells in rows().items()]
    return "".join(f"{line}\n" for line in lines)


def with_table(text: str) -> str:
    """The document's text with its table made anew."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


def _row(name: str) -> tuple[str, str, str]:
    if name == LORA:
        return "as methods `lora` and `qlora`", "yes", "4 and 8: `qlora`"
    if name in peft_options.REFUSED:
        return f"no: {peft_options.REFUSED[name]}", "", ""
    merges = "where all that it adapts has a bias" if name == "beft" else "yes"
    if name in peft_options.NOT_MERGED:
        merges = f"no: {peft_options.NOT_MERGED[name]}"
    bits = [
        str(each) for each in sorted(peft_options.ON_QUANTIZED) if name in peft_options.ON_QUANTIZED[each]
    ]
    return "yes", merges, " and ".join(bits) or "no"


def main() -> None:
    DOCUMENT.write_text(with_table(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
