"""The example of a method of one's own in ``trainables/README.md``, and methods of one's own for tests to vary."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.paths import ROOT

SECTION = "\n### A method of one's own\n"
KIND = "norms:NormTuning"


def example() -> tuple[str, str]:
    """The module ``norms.py`` and the spec of the page."""
    page = (ROOT / "trainables/README.md").read_text(encoding="utf-8")
    section = page.split(SECTION)[1].split("\n## ")[0].split("\n### ")[0]
    blocks = section.split("```")[1::2]
    module, spec = (next(block for block in blocks if block.startswith(kind)) for kind in ("python", "yaml"))
    return module.removeprefix("python\n"), spec.removeprefix("yaml\n")


def write_example(folder: Path) -> Path:
    """Writes the example into a folder; returns the path of its module."""
    folder.mkdir(parents=True, exist_ok=True)
    module, spec = example()
    (folder / "norms.py").write_text(module)
    (folder / "spec.yaml").write_text(spec)
    return folder / "norms.py"


def marked(module: str, mark: Path) -> str:
    """The module with a line by which it leaves a file wherever it is run."""
    return f"{module}\nopen({str(mark)!r}, 'a').write('run\\n')\n"
