"""Passwords in storage URLs: used, never shown and never written. Regular expressions only, so that any command may ask."""

from __future__ import annotations

import re

STORAGE = "STUDY_STORAGE"  # in a worker's environment: the URL with its password, which no file holds
# user:password@ up to the last @, for a password may hold an unquoted one; and drivers that take it as ?password=
_IN_URL = re.compile(r"(://[^:/@\s]*):\S*@")
_IN_QUERY = re.compile(r"(?<=[?&])((?:password|passwd|pwd|sslpassword)=)[^&\s'\"]*")


def shown(text: str) -> str:
    """The same text, fit for a screen or a log: *** for each password in it."""
    return _IN_QUERY.sub(r"\1***", _IN_URL.sub(r"\1:***@", text))


def stored(url: str) -> str:
    """The URL without its password, fit for a file: the driver then asks PGPASSWORD or ~/.pgpass."""
    if not has_password(url):
        return url
    return re.sub(r"(?<=[?&])(?:password|passwd|pwd|sslpassword)=[^&]*&?", "", _IN_URL.sub(r"\1@", url)).rstrip("?&")


def has_password(text: str) -> bool:
    return bool(_IN_URL.search(text) or _IN_QUERY.search(text))
