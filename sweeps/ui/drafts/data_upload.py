"""Writes an upload to a file as it comes, up to a limit."""

from __future__ import annotations

import secrets
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request

DATA_BYTES = 2 * 2**30


async def stream_to_file(request: Request, path: Path, limit: int) -> None:
    """Writes the body of a request to a new file. Raises ``HTTPException`` 413 for more than ``limit`` bytes."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    size = 0
    try:
        with temporary.open("xb") as file:
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise HTTPException(413, f"the file has more than {limit} bytes, which is the limit")
                file.write(part)
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)
