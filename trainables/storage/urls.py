"""URLs of stores: which may be used, and the file system that is behind one.

Credentials are those of the machine (environment, instance profile) and never part of a URL.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

# Their files appear whole and need no folder. Elsewhere a file is written under another name and moved.
OBJECTS = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "memory"})
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}  # scheme -> what of Paretune's extras brings it


def is_url(text: str) -> bool:
    """Whether a text names a store and not a path.

    >>> is_url("s3://bucket/runs"), is_url("/mnt/runs")
    (True, False)
    """
    return "://" in text


def checked(url: str) -> str:
    """The URL without a slash at its end. Raises ``ValueError`` for one that can't be used: says why and what to do."""
    parts = urlsplit(url)
    if "@" in parts.netloc:
        shown = f"{parts.scheme}://...@{parts.netloc.rpartition('@')[2]}{parts.path}"
        raise ValueError(
            f"{shown}: credentials are not for a URL, which logs and records show; give them by the environment "
            "(AWS_ACCESS_KEY_ID, GOOGLE_APPLICATION_CREDENTIALS, ...) or the machine's profile"
        )
    if parts.query or parts.fragment:
        raise ValueError(f"{url}: the URL of a folder has no ? and no #")
    return url.rstrip("/")


def filesystem(url: str) -> tuple[Any, str]:
    """fsspec's file system for a URL, and the path there. Raises ``ValueError`` where there is none."""
    import fsspec

    scheme = urlsplit(url).scheme
    try:
        # What others write has to be seen, so nothing is remembered.
        return fsspec.core.url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        wanted = f"pip install 'paretune[{EXTRAS[scheme]}]'" if scheme in EXTRAS else said(error)
        raise ValueError(f"{url}: {scheme}:// needs a package that is not installed: {wanted}") from error
    except ValueError as error:
        raise ValueError(
            f"{url}: {said(error)}; give a path, s3://, gs://, or another that fsspec knows"
        ) from error


def said(error: BaseException) -> str:
    """An error in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
