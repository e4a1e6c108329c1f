"""Files of a report as responses. A report may be of somebody else's run: it gets no access to the UI's pages."""

from __future__ import annotations

from pathlib import Path

from starlette.responses import FileResponse, Response

# The page's own policy allows its one script by its hash; sandboxed without an origin, it can't send our cookie.
REPORT_POLICY = (
    "sandbox allow-scripts allow-popups; default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src data:; frame-ancestors 'self'"
)
TYPES = {
    ".html": "text/html",
    ".md": "text/plain",
    ".csv": "text/csv",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}


def report_file(path: Path) -> Response:
    """A file of a report; one of a kind that no report has is downloaded."""
    media_type = TYPES.get(path.suffix, "application/octet-stream")
    return FileResponse(path, media_type=media_type, headers={"content-security-policy": REPORT_POLICY})
