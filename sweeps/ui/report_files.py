"""Files of a report as responses. A report may be of somebody else's run: it gets no access to the UI's pages."""

from __future__ import annotations

from pathlib import Path

from starlette.responses import FileResponse, Response

# A report is ours, but it shows texts of others; in a sandbox its scripts reach neither the session nor other pages.
# The page's own policy allows its one script by its hash.
REPORT_POLICY = (
    "sandbox allow-scripts allow-downloads allow-popups; default-src 'none'; img-src 'self' data:; style-src "
    "'unsafe-inline'; script-src 'unsafe-inline'; font-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'"
)
REPORT_TYPES = {
    ".html": "text/html; charset=utf-8", ".md": "text/plain; charset=utf-8", ".csv": "text/csv; charset=utf-8",
    ".json": "application/json", ".png": "image/png", ".svg": "image/svg+xml",
}  # fmt: skip


def report_file(path: Path) -> Response | None:
    """A file of a report; ``None`` for one of a kind that no report has."""
    kind = REPORT_TYPES.get(path.suffix)
    if kind is None:
        return None
    return FileResponse(path, media_type=kind, headers={"content-security-policy": REPORT_POLICY})
