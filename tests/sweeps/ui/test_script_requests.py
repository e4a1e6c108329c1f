"""What the pages' scripts request is what the server answers, what they import is there, and figures draw texts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from starlette.routing import Match

from sweeps.ui.drafts.store import DraftStore
from tests.helpers.small_ui_runs import write_runs
from tests.sweeps.ui.conftest import UiUnderTest

METHODS = {"get": "GET", "follow": "GET", "post": "POST", "upload": "POST", "remove": "DELETE"}
SCRIPTS = {
    path.name: path.read_text("utf-8")
    for path in Path(str(resources.files("sweeps.ui") / "static")).glob("*.js")
}
IMPORT = re.compile(r"^import \{([^}]+)\} from \"\./([^\"]+)\";", re.MULTILINE)
EXPORT = re.compile(r"^export (?:async )?(?:const|let|function|class) (\w+)", re.MULTILINE)
TEMPLATE = re.compile(r"hovertemplate: (.*)")
REQUEST = re.compile(r"\b(get|follow|post|upload|remove)\(([\"`])(/.*?)\2")


def requests() -> Iterator[tuple[str, str, str]]:
    """Script, method and path of each request whose path is written in a script; ``x`` stands for each value in it."""
    for script, text in SCRIPTS.items():
        for name, _, path in REQUEST.findall(text):
            yield script, METHODS[name], re.sub(r"[?$].*", "", re.sub(r"(?<=/)\$\{[^}]*\}", "x", path))


def test_every_path_that_a_script_requests_is_a_route(ui: UiUnderTest) -> None:
    wanted = list(requests())
    assert len(wanted) > 40, "the scripts no longer write their requests as this test reads them"
    for script, method, path in wanted:
        scope = {"type": "http", "path": path, "method": method, "root_path": "", "headers": []}
        routes = ui.client.app.routes  # type: ignore[attr-defined]
        assert any(route.matches(scope)[0] is Match.FULL for route in routes), f"{script}: {method} {path}"


def test_the_spec_of_a_run_becomes_a_draft_as_the_button_of_its_page_requests_it(ui: UiUnderTest) -> None:
    run = write_runs(ui.runs)
    (ui.runs / run.name / "spec.yaml").write_text("name: methods\n")
    path = ui.post("/new", {"from": "run", "name": run.key}).json()["path"]
    draft = DraftStore.at_home().get(path.removeprefix("/new/"))
    assert draft is not None
    assert draft.text == "name: methods\n"


def test_every_name_that_a_script_imports_is_exported() -> None:
    exported = {script: set(EXPORT.findall(text)) for script, text in SCRIPTS.items()}
    imports = [(script, *found) for script, text in SCRIPTS.items() for found in IMPORT.findall(text)]
    assert len(imports) > 80, "the scripts no longer write their imports as this test reads them"
    for script, names, module in imports:
        wanted = {name.split(" as ")[0].strip() for name in names.split(",")}
        assert wanted <= exported.get(module, set()), f"{script} imports from {module}"


def test_figures_show_no_text_of_a_run_that_plotly_would_read_as_html() -> None:
    """What a click on a figure leads to is the id as it is; what is drawn is a copy that was made plain."""
    templates = [
        (script, part)
        for script, text in SCRIPTS.items()
        for template in TEMPLATE.findall(text)
        for part in re.findall(r"%\{([^}:]+)", template)
    ]
    assert {"text", "y"} <= {part for _, part in templates}
    plain = {"x", "y", "text", "meta[0]", "meta[1]", "fullData.name"}
    assert not [each for each in templates if each[1] not in plain]
    drawn = [part for text in SCRIPTS.values() for part in re.findall(r"\btext\.push\(([^)]*)\)", text)]
    made_plain = re.findall(r"(\w+) = (?:plainText|trialText)\(", "".join(SCRIPTS.values()))
    assert len(drawn) >= 4
    assert not [part for part in drawn if part not in (*made_plain, '""')]
