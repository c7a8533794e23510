"""Subtitles: files beside a video (srt, vtt, ass, ssa; any common encoding) and text tracks inside it.

Sidecar times are taken as written, a track's times are its packets' pts minus the container's start. Real subtitle
files break every rule of their formats, so the parsers look for timing lines and take what stands below them.
"""

from __future__ import annotations

import codecs
import contextlib
import html
import itertools
import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from saccade.errors import MediaError
from saccade.types import Span, TimedText
from saccade.video.worker import Item, Worker

SUFFIXES = (".srt", ".vtt", ".ass", ".ssa")

TEXT_CODECS = {
    "subrip": ".srt",
    "srt": ".srt",  # FFmpeg has two names for this and for the next
    "text": ".srt",
    "ass": ".ass",
    "ssa": ".ass",
    "webvtt": ".vtt",
    "mov_text": ".srt",
}
"""Codecs whose packets hold text, and the markup in it."""

MAX_SIDECAR_BYTES = 64 << 20


@dataclass(frozen=True)
class Subtitles:
    """What was read, in order of source and time, and in ``notes`` what was not, one sentence each."""

    texts: tuple[TimedText, ...]
    notes: tuple[str, ...] = ()


def read_subtitles(path: object, *, worker: Worker | None = None) -> Subtitles:
    """Read the subtitle files beside ``path`` and the text tracks inside it.

    A sidecar is named after the video: talk.srt, talk.en.srt, talk.ko.forced.srt, in any case. What cannot be read
    is told in ``notes``; only a container that cannot be opened raises (SourceGone, UnreadableMedia, DecoderCrashed).
    """
    path = Path(str(path))
    texts: list[TimedText] = []
    notes: list[str] = []
    for sidecar in _sidecars(path):
        try:
            found, remarks = _parse(
                _bytes_of(sidecar), sidecar.suffix.lower(), sidecar.name, _language_in(sidecar, path)
            )
        except (MediaError, OSError) as error:
            notes.append(f"{sidecar.name}: {error.reason if isinstance(error, MediaError) else error.strerror}")
            continue
        texts += found
        notes += [f"{sidecar.name}: {remark}" for remark in remarks]
    for track, remarks in _tracks(path, worker):
        texts += track
        notes += remarks
    return Subtitles(tuple(texts), tuple(notes))


def parse_subtitles(data: bytes, suffix: str, source: str) -> list[TimedText]:
    """Parse a subtitle file's bytes; ``suffix`` is one of SUFFIXES, the language is read off ``source``.

    Raises MediaError where the bytes are no text or hold no cue.

    >>> parse_subtitles(b"1\\n00:00:01,000 --> 00:00:02,500\\n<i>Hello</i>\\n", ".srt", "talk.en.srt")[0].text
    'Hello'
    """
    texts, _ = _parse(data, suffix.lower(), source, _language_in(Path(source), None))
    return texts


def _parse(data: bytes, suffix: str, source: str, language: str | None) -> tuple[list[TimedText], list[str]]:
    if suffix not in _PARSERS:
        raise MediaError(source, f"subtitles are read from {', '.join(SUFFIXES)} files")
    if not data.strip():
        raise MediaError(source, "the subtitle file is empty")
    text, notes = _decode(data, source, language)
    cues = _tidy(_PARSERS[suffix](text))
    if not cues:
        raise MediaError(source, f"no subtitle was found in it, though it is called {suffix}")
    return [TimedText(span, words, "said", source, language) for span, words in cues], notes


# ---- cues ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Cue:
    """One cue as written: seconds, and text without markup."""

    start: float
    end: float
    text: str


_CLOCK = r"(-?)\s*(?:(\d{1,5})\s*:\s*)?(\d{1,2})\s*:\s*(\d{1,2})(?:\s*[.,:]\s*(\d{1,9}))?"
_TIMING = re.compile(rf"^[^\d-]*?{_CLOCK}\s*-{{1,3}}\s*>\s*{_CLOCK}")
_INDEX = re.compile(r"\s*\d+\s*$")

_READING_CHARACTERS_A_SECOND = 15
_SHORTEST_SECONDS = 1.0


def _tidy(cues: Sequence[_Cue]) -> list[tuple[Span, str]]:
    """In order of time, each cue once; one that ends before it begins lasts as long as it takes to read it."""
    ordered = sorted(dict.fromkeys(cue for cue in cues if cue.text), key=lambda cue: (cue.start, cue.end))
    spans = []
    for cue, following in itertools.zip_longest(ordered, ordered[1:]):
        start, end = max(0.0, cue.start), cue.end
        if end <= cue.start:
            end = start + max(_SHORTEST_SECONDS, len(cue.text) / _READING_CHARACTERS_A_SECOND)
            if following is not None and following.start > start:
                end = min(end, following.start)
        if end > 0:
            spans.append((Span(start, end), cue.text))
    return spans


def _timed_blocks(text: str) -> Iterator[tuple[float, float, list[str]]]:
    """(start, end, the lines up to the next timing line) of each timing line in srt and vtt."""
    current: tuple[float, float, list[str]] | None = None
    for line in text.split("\n"):
        timing = _TIMING.match(line)
        if timing:
            if current:
                yield current
            current = _seconds(timing.groups()[:5]), _seconds(timing.groups()[5:]), []
        elif current:
            current[2].append(line)
    if current:
        yield current


def _seconds(clock: Sequence[str | None]) -> float:
    sign, hours, minutes, seconds, fraction = clock
    whole = int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)
    value = whole + float(f"0.{fraction or 0}")
    return -value if sign else value


def _parse_srt(text: str) -> list[_Cue]:
    cues = []
    blocks = list(_timed_blocks(text))
    for number, (start, end, lines) in enumerate(blocks):
        if number < len(blocks) - 1:
            lines = _without_next_index(lines)
        cues.append(_Cue(start, end, _plain_lines(lines)))
    return cues


def _without_next_index(lines: list[str]) -> list[str]:
    """Drop the number that belongs to the cue below: it stands alone above the timing line."""
    while lines and not lines[-1].strip():
        lines = lines[:-1]
    alone = bool(lines) and _INDEX.match(lines[-1]) and (len(lines) == 1 or not lines[-2].strip())
    # Where the empty line is missing too, a bare number right above a timing line is still more likely an index.
    return lines[:-1] if lines and (alone or (len(lines) > 1 and _INDEX.match(lines[-1]))) else lines


def _parse_vtt(text: str) -> list[_Cue]:
    cues: list[_Cue] = []
    shown: list[str] = []
    for start, end, lines in _timed_blocks(text):
        ended = lines.index("") if "" in lines else len(lines)
        plain = _plain_lines(lines[:ended]).split("\n")
        rolled = bool(cues) and shown[-1:] == plain[:1] and abs(start - cues[-1].end) < ROLL_SECONDS
        cues.append(_Cue(start, end, "\n".join(plain[1:] if rolled else plain)))
        shown = plain
    return cues


ROLL_SECONDS = 0.1
"""Captions that roll up repeat the line above in the cue that follows at once; it is taken once."""


_TAGS = re.compile(r"</?(?:i|b|u|s|em|strong|font|c|v|lang|ruby|rt|br|p|span)\b[^<>]*>|<\d[\d:.]*>|</?c\.[^<>]*>", re.I)
_OVERRIDES = re.compile(r"\{\\[^{}]*\}|\{[yY]:[^{}]*\}")


def _plain_lines(lines: Sequence[str]) -> str:
    joined = "\n".join(lines)
    joined = re.sub(r"<br\s*/?>|\\[Nn]", "\n", joined)
    return _clean(html.unescape(_OVERRIDES.sub("", _TAGS.sub("", joined))))


_KEPT_MARKS = "\n\u200c\u200d"  # joiners are part of the spelling in Persian and Indic scripts, and of emoji


def _clean(text: str) -> str:
    """Without invisible marks and double blanks; lines are kept."""
    text = "".join(mark for mark in text if mark in _KEPT_MARKS or unicodedata.category(mark) not in ("Cc", "Cf"))
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return unicodedata.normalize("NFC", "\n".join(line for line in lines if line))


_ASS_FIELDS = ("layer", "start", "end", "style", "name", "marginl", "marginr", "marginv", "effect", "text")


def _parse_ass(text: str) -> list[_Cue]:
    fields: Sequence[str] = _ASS_FIELDS
    inside = True
    cues = []
    for line in text.split("\n"):
        key, _, value = line.partition(":")
        key = key.strip().casefold()
        if line.lstrip().startswith("["):
            inside = line.strip().casefold() == "[events]"
        elif inside and key == "format":
            fields = [field.strip().casefold() for field in value.split(",")]
        elif inside and key == "dialogue":
            row = dict(zip(fields, value.strip().split(",", len(fields) - 1), strict=False))
            times = [re.fullmatch(rf"\s*{_CLOCK}\s*", row.get(name, "")) for name in ("start", "end")]
            if times[0] and times[1] and "text" in row:
                start, end = (_seconds(time.groups()) for time in times if time)
                cues.append(_Cue(start, end, _ass_text(row["text"])))
    return cues


_DRAWING = re.compile(r"\\p(\d+)")


def _ass_text(text: str) -> str:
    """The words of an ASS event: no override blocks, no drawings."""
    shown, drawing = [], False
    for part in re.split(r"(\{[^{}]*\})", text):
        if part.startswith("{") and part.endswith("}"):
            for scale in _DRAWING.findall(part):
                drawing = int(scale) > 0
        elif not drawing:
            shown.append(part)
    return _clean(re.sub(r"\\[Nn]", "\n", "".join(shown)).replace(r"\h", " "))


_PARSERS: dict[str, Callable[[str], list[_Cue]]] = {
    ".srt": _parse_srt,
    ".vtt": _parse_vtt,
    ".ass": _parse_ass,
    ".ssa": _parse_ass,
}


# ---- encodings -----------------------------------------------------------------------------------------------

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

_COMMON_HANGUL = (
    "이다는을를가에의고하지은도로한나서니있어요해그사기만거라아리들대시과인제자게안보내정전일것수면없우말네"
)
_COMMON_KANA = "のにはをたがでてとしれさあいるうくなもかっんだすまりこらそきけよせみおどじちめわつえやねばげひょゃ人私"
_COMMON_HAN = (
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行"
    "這個們來為國說時會對於著過發後裡"
)

_ASIAN = {
    # encoding: (language, characters that make up about half of running text in it)
    "cp949": (
        "ko",
        "이다는을를가에의고하지은도로한나서니있어요해그사기만거라아리들대시과인제자게안보내정전일것수면없우말네",
    ),
    "cp932": ("ja", _COMMON_KANA),
    "euc_jp": ("ja", _COMMON_KANA),
    "gb18030": ("zh", _COMMON_HAN),
    "big5hkscs": ("zh", _COMMON_HAN),
}

_WESTERN = {
    # language: the code page that its subtitles are written in when they are not Unicode
    "ru": "cp1251", "uk": "cp1251", "bg": "cp1251", "sr": "cp1251", "mk": "cp1251", "el": "cp1253", "tr": "cp1254",
    "he": "cp1255", "ar": "cp1256", "fa": "cp1256", "lt": "cp1257", "lv": "cp1257", "et": "cp1257", "vi": "cp1258",
    "th": "cp874", "pl": "cp1250", "cs": "cp1250", "sk": "cp1250", "hu": "cp1250", "sl": "cp1250", "hr": "cp1250",
    "ro": "cp1250",
}  # fmt: skip


def _decode(data: bytes, source: str, language: str | None) -> tuple[str, list[str]]:
    """The text, with plain newlines, and remarks on what was damaged. MediaError where it is no text."""
    text, remarks = _unicode(data)
    if text is None:
        if b"\0" in data:
            raise MediaError(source, "it is not a text file")
        text, remarks = _legacy(data, language)
    return text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff"), remarks


def _unicode(data: bytes) -> tuple[str | None, list[str]]:
    """Text with a byte order mark, UTF-16 without one, and UTF-8 with few or no broken characters."""
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return _with_remark(data[len(mark) :], encoding)
    if data[1::2].count(0) * 3 > len(data) or data[::2].count(0) * 3 > len(data):
        return _with_remark(data, "utf-16-le" if data[1::2].count(0) > data[::2].count(0) else "utf-16-be")
    text, remarks = _with_remark(data, "utf-8")
    broken = text.count("\ufffd")
    whole = sum(mark > "\x7f" for mark in text) - broken
    return (text, remarks) if broken * 10 <= whole else (None, [])


def _with_remark(data: bytes, encoding: str) -> tuple[str, list[str]]:
    text = data.decode(encoding, "replace")
    broken = text.count("\ufffd")
    return text, [f"{broken} damaged characters in its {encoding} text"] if broken else []


def _legacy(data: bytes, language: str | None) -> tuple[str, list[str]]:
    """Text from before Unicode: East Asian encodings by their commonest characters, the others by their words."""
    scored = [(_asian_score(data, encoding, language), encoding) for encoding in _ASIAN]
    score, encoding = max(scored)
    if score > _MIN_ASIAN_SCORE:
        return data.decode(encoding, "replace"), []
    if language in _WESTERN:
        return _with_remark(data, _WESTERN[language])
    from charset_normalizer import from_bytes

    matches = from_bytes(data, cp_isolation=list(_PAGES))
    ranked = sorted(
        (_mostly_capitals(str(match)), match.chaos, -match.coherence, _PAGES.index(match.encoding), match.encoding)
        for match in matches
    )
    return _with_remark(data, ranked[0][-1] if ranked else "cp1252")


def _mostly_capitals(text: str) -> bool:
    """Whether most letters beyond ASCII are capitals, as Cyrillic is in the wrong one of its code pages."""
    letters = [mark for mark in text if mark > "\x7f" and mark.isalpha()]
    return 2 * sum(mark.isupper() for mark in letters) > len(letters)


_PAGES = ("cp1252", "cp1251", "koi8_r", "cp1250", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp874")
"""Eight-bit code pages; where two fit a text equally well, the commoner one is taken."""


_MIN_ASIAN_SCORE = 0.12


def _asian_score(data: bytes, encoding: str, language: str | None) -> float:
    """How much the bytes look like running text in this encoding: the share of common characters, less strange ones."""
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return -math.inf
    tongue, common = _ASIAN[encoding]
    marks = [mark for mark in text if mark > "\x7f"]
    usual = sum(mark in common for mark in marks)
    strange = sum(not _at_home(mark, tongue) for mark in marks)
    return (usual - 2 * strange) / max(1, len(marks)) + (0.3 if language == tongue else 0.0)


def _at_home(mark: str, language: str) -> bool:
    """Whether a character belongs into running text of the language."""
    name = unicodedata.name(mark, "")
    if language == "ko":
        return name.startswith("HANGUL SYLLABLE") or not unicodedata.category(mark).startswith("L")
    if name.startswith("CJK UNIFIED"):
        return True
    kana = name.startswith(("HIRAGANA", "KATAKANA"))
    return (kana and language == "ja") or not (unicodedata.category(mark).startswith("L") or name == "")


# ---- sidecars ------------------------------------------------------------------------------------------------

_LANGUAGES = (
    # ISO 639-1, then ISO 639-2 and names that files carry
    "ar ara arabic", "bg bul bulgarian", "bn ben bengali", "ca cat catalan", "cs cze ces czech", "da dan danish",
    "de ger deu german deutsch", "el gre ell greek", "en eng english", "es spa spanish español", "et est estonian",
    "fa per fas persian farsi", "fi fin finnish", "fr fre fra french français", "he heb hebrew", "hi hin hindi",
    "hr hrv croatian", "hu hun hungarian", "id ind indonesian", "it ita italian italiano",
    "ja jpn japanese 日本語", "ko kor korean 한국어 한글", "lt lit lithuanian", "lv lav latvian",
    "ms may msa malay", "nl dut nld dutch", "no nor nob norwegian", "pl pol polish polski",
    "pt por portuguese português pb", "ro rum ron romanian", "ru rus russian русский", "sk slo slk slovak",
    "sl slv slovenian", "sr srp serbian", "sv swe swedish", "ta tam tamil", "th tha thai", "tr tur turkish türkçe",
    "uk ukr ukrainian", "ur urd urdu", "vi vie vietnamese", "zh chi zho chinese chs cht 中文 简体 繁體",
)  # fmt: skip
_LANGUAGE_OF = {name: names.split()[0] for names in _LANGUAGES for name in names.split()}


def language_code(name: str | None) -> str | None:
    """ISO 639-1 of a tag or name as containers and files carry it, None where it says nothing.

    >>> language_code("eng"), language_code("pt-BR"), language_code("Korean"), language_code("und")
    ('en', 'pt', 'ko', None)
    """
    return _LANGUAGE_OF.get(re.split(r"[-_]", (name or "").casefold())[0])


def _sidecars(path: Path) -> list[Path]:
    """The subtitle files that belong to this video: no other file here begins theirs with a longer name."""
    try:
        names = sorted(entry.name for entry in path.parent.iterdir())
    except OSError:
        return []
    owners = [(name, stem) for name in names if not name.casefold().endswith(SUFFIXES) for stem in _stems(name)]
    mine = {_folded(stem) for stem in _stems(path.name)}
    found = []
    for name in names:
        if not name.casefold().endswith(SUFFIXES):
            continue
        folded = _folded(name)
        longest = max((len(_folded(stem)) for _, stem in owners if folded.startswith(_folded(stem) + ".")), default=0)
        if any(folded.startswith(stem + ".") and len(stem) >= longest for stem in mine):
            found.append(path.parent / name)
    return found


def _stems(name: str) -> tuple[str, str]:
    return Path(name).stem, name


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _language_in(sidecar: Path, video: Path | None) -> str | None:
    """The language that a subtitle file's name gives: the last part that is one."""
    parts = sidecar.name.split(".")[1:-1]
    if video is not None and _folded(sidecar.name).startswith(_folded(video.stem) + "."):
        parts = sidecar.name[len(video.stem) + 1 :].split(".")[:-1]
    codes = [code for part in reversed(parts) if (code := language_code(part.strip()))]
    return codes[0] if codes else None


def _bytes_of(sidecar: Path) -> bytes:
    if sidecar.stat().st_size > MAX_SIDECAR_BYTES:
        raise MediaError(sidecar.name, f"it is larger than {MAX_SIDECAR_BYTES >> 20} MiB, too large for subtitles")
    return sidecar.read_bytes()


# ---- tracks --------------------------------------------------------------------------------------------------


def _tracks(path: Path, worker: Worker | None) -> Iterator[tuple[list[TimedText], list[str]]]:
    """The texts and remarks of each subtitle track."""
    owned = contextlib.nullcontext(worker) if worker else Worker()
    with owned as worker:
        for header, _ in worker.run("saccade.video.subtitles:demux_tracks", path=str(path)):
            source, language = header["source"], language_code(header["language"])
            cues = _tidy([_Cue(start, end, text) for start, end, text in header["cues"]])
            texts = [TimedText(span, text, "said", source, language) for span, text in cues]
            yield texts, [f"{source}: {header['note']}"] if header["note"] else []


def demux_tracks(path: str) -> Iterator[Item]:
    """The child's side: yields a header for each subtitle track, {"source", "language", "note", "cues"}."""
    import av

    from saccade.video.media import only, open_media, start_of

    with open_media(path) as container:
        readable = [stream for stream in container.streams.subtitles if _codec(stream) in TEXT_CODECS]
        kept = {stream.index for stream in readable}
        only(container, *readable)
        packets: dict[int, list[_Packet]] = {index: [] for index in kept}
        damage = ""
        try:
            for packet in container.demux(readable) if readable else ():
                if packet.pts is not None and packet.size:
                    packets[packet.stream_index].append(_packet(packet))
        except av.FFmpegError as error:
            damage = f"the file is damaged ({error.strerror}), what came before that is kept"
        start = start_of(container)
        for stream in container.streams.subtitles:
            language, codec = stream.language, _codec(stream)
            source = f"track {stream.index}" + (f" ({language})" if language_code(language) else "")
            note, cues = damage, []
            if stream.index in kept:
                cues = _track_cues(packets[stream.index], codec, start, source, language_code(language))
            else:
                held = "pictures of text" if codec in _BITMAP_CODECS else "subtitles of a kind"
                note = f"it holds {held} ({codec}) that are not read"
            yield {"source": source, "language": language, "note": note, "cues": cues}, ()


_BITMAP_CODECS = ("dvdsub", "dvd_subtitle", "pgssub", "hdmv_pgs_subtitle", "dvbsub", "dvb_subtitle", "xsub")

_SEPARATOR = "\x1e"


@dataclass(frozen=True)
class _Packet:
    pts: int
    duration: int
    time_base: Fraction
    data: bytes


def _codec(stream: Any) -> str:
    context = stream.codec_context
    return str(context.name) if context is not None else "unknown"


def _packet(packet: Any) -> _Packet:
    return _Packet(packet.pts, packet.duration or 0, packet.time_base, bytes(packet))


def _track_cues(
    packets: Sequence[_Packet], codec: str, start: Fraction, source: str, language: str | None
) -> list[tuple[float, float, str]]:
    """(start, end, text) of a track's packets. The encoding is found from all of them together."""
    payloads = [_payload(packet.data, codec) for packet in packets]
    joined = _SEPARATOR.encode().join(payloads)
    texts = _decode(joined, source, language)[0].split(_SEPARATOR) if joined else []
    cues = []
    for packet, text in zip(packets, texts, strict=True):
        begin = packet.pts * packet.time_base - start
        end = begin + packet.duration * packet.time_base
        # An ASS packet: ReadOrder, Layer, Style, Name, three margins, Effect, Text
        ass = TEXT_CODECS[codec] == ".ass"
        plain = _ass_text(text.split(",", 8)[-1]) if ass else _plain_lines(text.split("\n"))
        if plain:
            cues.append((float(begin), float(end), plain))
    return cues


def _payload(data: bytes, codec: str) -> bytes:
    """The text of a packet, in the track's encoding."""
    if codec != "mov_text":
        return data.replace(_SEPARATOR.encode(), b" ")
    text = data[2 : 2 + int.from_bytes(data[:2], "big")]
    for mark in (codecs.BOM_UTF16_BE, codecs.BOM_UTF16_LE):
        if text.startswith(mark):
            return text.decode("utf-16", "replace").encode()
    return text
