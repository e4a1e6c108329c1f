"""Pages in Chromium without a window: what their script does, as a second script of the test sees it."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import tempfile
from hashlib import sha256
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


# Chromium makes no window that is narrower; a narrower page stands in a frame.
LEAST_WINDOW = 500


def evaluated(html: str, script: str, width: int = 1280, dark: bool = False) -> Any:
    """What ``return`` gives in a script that runs at the end of a page, as JSON; the page's policy allows it, too.

    ``width``: of the page, in CSS pixels; ``dark``: whether the reader prefers dark pages. Skips the test where there
    is no Chromium.
    """
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("there is no Chromium here")
    own = (
        "const result = (() => {"
        + script
        + "})(); const outer = window.frameElement ? parent.document : document;"
        "const shown = outer.createElement('pre');"
        "shown.id = 'result'; shown.textContent = JSON.stringify(result); outer.body.append(shown);"
    )
    digest = base64.b64encode(sha256(own.encode()).digest()).decode()
    allowed = html.replace("script-src '", f"script-src 'sha256-{digest}' '", 1)
    allowed = allowed.replace("</body>", f"<script>{own}</script></body>")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        page.write_text(_framed(allowed, width) if width < LEAST_WINDOW else allowed, encoding="utf-8")
        dom = subprocess.run(
            [program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             f"--user-data-dir={folder}/profile", f"--window-size={max(width, LEAST_WINDOW)},900",
             f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--dump-dom", page.as_uri()],
            capture_output=True, text=True, check=True, timeout=120,
        ).stdout  # fmt: skip
    found = re.search(r'<pre id="result">(.*?)</pre>', dom, flags=re.DOTALL)
    assert found is not None, "the script didn't run to its end"
    return json.loads(unescape(found[1]))


def _framed(html: str, width: int) -> str:
    """A page that shows another one in a frame of that width."""
    style = "<style>:root { color-scheme: light dark } iframe { border: 0; height: 900px }</style>"
    return f'<!doctype html>{style}<body><iframe width="{width}" srcdoc="{escape(html)}"></iframe></body>'
