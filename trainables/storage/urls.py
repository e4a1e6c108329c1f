"""URLs of stores: which may be used, and fsspec's file system for one.

Credentials come from the machine (environment, instance profile) and are never part of a URL.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

# Objects appear when they are complete and need no folder. Elsewhere a file is written under another name and moved.
OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "memory"})
# Those whose URLs name neither a file of this machine nor a server that a URL could choose at will.
REMOTE_STORES = (OBJECT_STORES - {"memory"}) | {"hdfs"}
_CHAINED = re.compile(r"^[\w+.-]+::|::[\w+.-]+://")
# Scheme -> the extra of Paretune that installs its package.
EXTRAS = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gcs",
    "gcs": "gcs",
}


def is_url(text: str) -> bool:
    """Whether a text names a store and not a path.

    >>> is_url("s3://bucket/runs"), is_url("/mnt/runs")
    (True, False)
    """
    return "://" in text


def checked(url: str) -> str:
    """The URL without a slash at its end.

    Raises ``ValueError`` for one with credentials, a query or a fragment, for several in one, and for one that names no
    folder, or another than it seems to; the message says what to do.
    """
    # fsspec would pass what one URL holds on to another, through a cache on this machine if one of them says so.
    if _CHAINED.search(url):
        raise ValueError(f"{url}: it is a chain of URLs (::); give the URL of one folder")
    parts = urlsplit(url)
    if "@" in parts.netloc:
        without_credentials = f"{parts.scheme}://...@{parts.netloc.rpartition('@')[2]}{parts.path}"
        raise ValueError(
            f"{without_credentials}: a URL must not hold credentials, since logs and records show it; set them in the "
            "environment (AWS_ACCESS_KEY_ID, GOOGLE_APPLICATION_CREDENTIALS, ...) or use the machine's profile"
        )
    if parts.query or parts.fragment:
        raise ValueError(f"{url}: the URL of a folder must not contain ? or #; remove them")
    if not (parts.netloc or parts.path.strip("/")):
        raise ValueError(f"{url}: it names no folder; give one, such as {parts.scheme}://FOLDER/runs/NAME")
    if "//" in parts.path.rstrip("/"):
        raise ValueError(f"{url}: it has two slashes in a row; write one")
    if any(part in (".", "..") for part in parts.path.split("/")):
        raise ValueError(
            f"{url}: a URL must not have . or .. between slashes; write the folder that is meant"
        )
    return url.rstrip("/")


def filesystem(url: str) -> tuple[Any, str]:
    """fsspec's file system for a URL, and the path in it. Raises ``ValueError`` if there is none."""
    import fsspec

    scheme = urlsplit(url).scheme
    try:
        # Without a cache of listings: files that others write must be seen.
        return fsspec.core.url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        solution = f"pip install 'paretune[{EXTRAS[scheme]}]'" if scheme in EXTRAS else first_line(error)
        raise ValueError(f"{url}: {scheme}:// needs a package that is not installed: {solution}") from error
    except ValueError as error:
        raise ValueError(
            f"{url}: {first_line(error)}; give a path, s3://, gs://, or another that fsspec knows"
        ) from error


def first_line(error: BaseException) -> str:
    """The first line of an error's message, without its full stop; its type's name if it has no message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
