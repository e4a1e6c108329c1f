"""Writes an upload to a file as it comes, up to a limit."""

from __future__ import annotations

from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request

from sweeps.ui.drafts.new_files import place, temporary_beside
from sweeps.ui.request_body import parts_of

DATA_BYTES = 2 * 2**30


async def stream_to_file(request: Request, path: Path, limit: int) -> None:
    """Writes the body of a request to a new file. Raises ``HTTPException`` 413 for more than ``limit`` bytes, and
    ``FileExistsError`` where somebody else has made the file meanwhile.
    """
    temporary = temporary_beside(path)
    size = 0
    try:
        with temporary.open("xb") as file:
            async for part in parts_of(request):
                size += len(part)
                if size > limit:
                    raise HTTPException(413, f"the file has more than {limit} bytes, which is the limit")
                file.write(part)
        place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
