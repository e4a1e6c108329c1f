"""Pages in Chromium without a window: what their script does, as a second script of the test sees it."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import tempfile
from hashlib import sha256
from html import unescape
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def evaluated(html: str, script: str) -> Any:
    """What ``return`` gives in a script that runs at the end of a page, as JSON; the page's policy allows it, too.

    Skips the test where there is no Chromium.
    """
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("there is no Chromium here")
    own = (
        "const result = (() => {" + script + "})(); const shown = document.createElement('pre');"
        "shown.id = 'result'; shown.textContent = JSON.stringify(result); document.body.append(shown);"
    )
    digest = base64.b64encode(sha256(own.encode()).digest()).decode()
    allowed = html.replace("script-src '", f"script-src 'sha256-{digest}' '", 1)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        page.write_text(allowed.replace("</body>", f"<script>{own}</script></body>"), encoding="utf-8")
        dom = subprocess.run(
            [program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             f"--user-data-dir={folder}/profile", "--window-size=1280,900", "--dump-dom", page.as_uri()],
            capture_output=True, text=True, check=True, timeout=120,
        ).stdout  # fmt: skip
    found = re.search(r'<pre id="result">(.*?)</pre>', dom, flags=re.DOTALL)
    assert found is not None, "the script didn't run to its end"
    return json.loads(unescape(found[1]))
