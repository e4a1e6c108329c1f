"""What a node is sent to do at a URL, by value: write, read what the driver wrote, and take its own away again.

It knows nothing but the standard library and, where it runs, fsspec.
"""

from __future__ import annotations

import time


def visit(node_id: str, url: str, token: str, seconds: float) -> str | None:
    """What goes wrong with reading and writing at ``url`` here, in one line; ``None`` if all is well.

    Tried for so many seconds: a store may fail once.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            return _visit(node_id, url, token)
        except ImportError as error:
            return f"a package is missing: {_first_line(error)}"
        except Exception as error:  # each kind of store has its own
            if time.monotonic() > until:
                return _first_line(error)
        time.sleep(0.5)


def _visit(node_id: str, url: str, token: str) -> str | None:
    import fsspec

    fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
    mine = f"{root}/{mark(token, node_id)}"
    fs.pipe_file(mine, token.encode())
    try:
        if fs.cat_file(mine) != token.encode():
            return "what is written is not what is read"
        try:
            seen = fs.cat_file(f"{root}/{mark(token)}")
        except FileNotFoundError:
            return "what the driver writes there does not arrive"
        return None if seen == token.encode() else "it is not the driver's"
    finally:
        fs.rm_file(mine)


def mark(token: str, node_id: str = "driver") -> str:
    """The name of a file that says: here I was."""
    return f".paretune-{token}-{node_id}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
