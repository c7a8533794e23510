"""URLs become files in the library's ``downloads``, through yt-dlp where that is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from saccade.errors import InputError, MissingExtra


def fetch(url: str, library: Path) -> list[str]:
    """Download what a URL shows, with its subtitles; returns the files. What lies there already is not fetched again.

    MissingExtra without yt-dlp, InputError where it cannot get anything from the URL.
    """
    if importlib.util.find_spec("yt_dlp") is None:
        raise MissingExtra("download", f"indexing {url}")
    import yt_dlp

    options = {
        "outtmpl": str(library / "downloads" / "%(title).80B [%(id)s].%(ext)s"),
        "quiet": True,
        "noprogress": True,
        "no_warnings": True,
        "writesubtitles": True,
        "subtitleslangs": ["all", "-live_chat"],
    }
    try:
        with yt_dlp.YoutubeDL(options) as downloader:
            found = downloader.extract_info(url, download=True)
    except yt_dlp.utils.DownloadError as error:
        raise InputError(f"{url} could not be fetched: {error}") from None
    entries = [entry for entry in found.get("entries", [found]) if entry]
    files = [download["filepath"] for entry in entries for download in entry.get("requested_downloads", [])]
    if not files:
        raise InputError(f"{url} shows nothing that can be fetched")
    return files
