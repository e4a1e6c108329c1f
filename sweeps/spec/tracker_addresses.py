"""Addresses of trackers that can't be right: known before a run instead of from a tracker that fails."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from sweeps.spec.problems import format_value
from trainables.system import redaction

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")  # a driver may follow, as in mysql+pymysql
EXAMPLES = "http://127.0.0.1:5000, or sqlite:////home/ada/mlflow.db"


def mlflow_fault(uri: str) -> str | None:
    """What is wrong with the address of an MLflow server or database; ``None`` if nothing is.

    >>> mlflow_fault("http://127.0.0.1:5000")
    >>> mlflow_fault("127.0.0.1:5000")
    'MLflow needs http://, https:// or a database such as sqlite:///, got 127.0.0.1:5000. Did you mean http://127.0.0.1:5000?'
    """
    got = f"got {format_value(redaction.redacted(uri))}"
    try:
        url = urlsplit(uri)
        host, port = url.hostname, url.port
    except ValueError:  # no port, or no address in brackets; its text may hold a part of the password
        return (
            f"MLflow needs an address such as {EXAMPLES}, {got}: its port or its host can't be read (in a password, / "
            "is %2F)"
        )
    if uri == "databricks" or url.scheme == "databricks":
        return None
    if url.scheme in ("http", "https"):
        return None if host and port != 0 else f"MLflow needs a host, as in {EXAMPLES}, {got}"
    if sqlite_file(uri) is not None:
        return _sqlite_fault(url, got)
    if is_database(uri):
        # SQLAlchemy also takes the host, or all that its driver needs, from the query.
        return None if host or url.query else f"MLflow needs the host of the database, {got}"
    return f"MLflow needs http://, https:// or a database such as sqlite:///, {got}{_proposal(uri, url)}"


def is_database(uri: str) -> bool:
    """Whether the address is that of a database, and not of MLflow's server."""
    return urlsplit(uri).scheme.partition("+")[0] in DATABASES


def sqlite_file(uri: str) -> Path | None:
    """The file of a database's address; ``None`` for another kind of address."""
    url = urlsplit(uri)
    return Path(url.path.removeprefix("/")) if url.scheme.partition("+")[0] == "sqlite" else None


def _sqlite_fault(url: SplitResult, got: str) -> str | None:
    # As SQLAlchemy reads them, sqlite:///FILE is relative to the working folder, and sqlite:////FILE is not.
    file = url.path.removeprefix("/")
    if url.netloc or not file:
        return f"MLflow needs a file after sqlite:///, {got}"
    if file.startswith("/"):
        return None
    proposed = f"sqlite:///{Path(file).absolute()}"
    return f"the file would depend on the working folder, {got}. Did you mean {proposed}?"


def _proposal(uri: str, url: SplitResult) -> str:
    if url.scheme == "file" or uri.startswith(("/", ".", "~")):
        folder = Path(url.path if url.scheme == "file" else uri).expanduser().absolute()
        return f" (it has given up folders of files). Did you mean sqlite:///{folder / 'mlflow.db'}?"
    address = uri.partition("://")[2] or uri
    return f". Did you mean {redaction.redacted(f'http://{address}')}?"
