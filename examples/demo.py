"""The demo: draws short films, indexes them, searches and grounds, and writes one page of what it found.

    python examples/demo.py demo

Everything lands in the folder it is given: films/, library/, exports/ and index.html, which holds its pictures and
clips itself and can be sent to anybody.
"""

from __future__ import annotations

import base64
import html
import io
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import saccade
from saccade.datasets.gym import demo_films
from saccade.errors import SaccadeError
from saccade.export import export
from saccade.types import CurvePoint, GroundResult, Moment, SearchResult, Span, clock
from saccade.video.cut import cut

QUERIES = (
    "she opens the red door",
    "the ball rolls into the sea",
    "당근",
    "비용이 얼마나 드나요",
    "speed limit",
    "a helicopter lands on a glacier",
)
SEEN = "a bowl of soup on a table"
"""Looked for in the pictures alone."""

GROUNDED = ("soup.mp4", "stir with a wooden spoon")


def main(folder: Path) -> None:
    began = time.monotonic()
    films = draw(folder / "films")
    shutil.rmtree(folder / "library", ignore_errors=True)
    with saccade.open(folder / "library") as library:
        say(f"indexing {len(films)} films")
        report = library.add(folder / "films")
        say(f"indexed {len(report.done)} of {len(films)}; {report.other} other files were left alone")
        answers = [library.search(query, k=3) for query in QUERIES]
        answers.append(library.search(SEEN, k=3, evidence=["seen"]))
        for answer in answers:
            tell(answer)
        grounded = library.ground(*GROUNDED)
        exports = write_exports(library, grounded, folder / "exports")
        page = "".join(page_of(library, answers, grounded, exports))
    (folder / "index.html").write_text(page, encoding="utf-8")
    say(f"{folder / 'index.html'} is what it found; all of it took {time.monotonic() - began:.0f} s")


def draw(folder: Path) -> list[Path]:
    """The films, drawn once; the second time they are there."""
    done = folder / ".drawn"
    if not done.exists():
        say("drawing films")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        demo_films(folder)
        done.touch()
    return sorted(path for path in folder.iterdir() if path.suffix in (".mp4", ".mkv"))


def tell(answer: SearchResult) -> None:
    verdict = "found" if answer.present else "not in here; the closest were"
    say(f"search {answer.query!r}: {verdict}")
    for hit in answer.hits[: 3 if answer.present else 1]:
        say(f"    {Path(hit.path).name} {hit.span}  confidence {hit.confidence:.2f}")


def write_exports(library: saccade.Library, grounded: GroundResult, folder: Path) -> list[Path]:
    """The grounded moments as subtitles and JSON, a film's transcript, and the best moment cut out of its film."""
    folder.mkdir(parents=True, exist_ok=True)
    targets = [folder / "moments.vtt", folder / "moments.json", folder / "transcript.srt", folder / "moment.mp4"]
    export(grounded, "vtt", targets[0])
    export(grounded, "json", targets[1])
    export(library.texts(grounded.video, ["said"]), "srt", targets[2])
    if grounded.best is not None:
        clip = cut(grounded.path, grounded.best.span, targets[3], exact=True)
        say(f"cut {clip.span} of {Path(grounded.path).name} to {targets[3]}")
    return targets


# ── the page ─────────────────────────────────────────────────────────────────────────────────────────────────────


def page_of(
    library: saccade.Library, answers: Sequence[SearchResult], grounded: GroundResult, exports: Sequence[Path]
) -> Iterator[str]:
    yield HEAD
    yield "<header><h1>saccade</h1><p>Short films, drawn, indexed and searched on this machine, offline.</p></header>"
    yield "<main><section><h2>Searched</h2>"
    for answer in answers:
        yield from answer_of(library, answer)
    yield "</section><section><h2>Grounded in one film</h2>"
    yield from grounding_of(library, grounded, exports[-1])
    yield "</section><section><h2>The library</h2>"
    yield from ledger_of(library)
    yield "</section></main>"


def answer_of(library: saccade.Library, answer: SearchResult) -> Iterator[str]:
    verdict = "" if answer.present else "<p class=absent>Not in here. The closest was:</p>"
    yield f"<article><h3>{html.escape(answer.query)}</h3>{verdict}"
    for hit in [hit for hit in answer if hit.present] or answer.hits[:1]:
        yield f"<figure class={'hit' if hit.present else 'miss'}>{picture(library.show(hit, 5))}"
        yield f"<figcaption><b>{html.escape(Path(hit.path).name)}</b> {hit.span} "
        yield f"{confidence(hit)}{matches(hit)}</figcaption></figure>"
    yield "</article>"


def grounding_of(library: saccade.Library, grounded: GroundResult, clip: Path) -> Iterator[str]:
    yield f"<article><h3>{html.escape(grounded.query)}</h3><p>in <b>{html.escape(Path(grounded.path).name)}</b></p>"
    shots = [shot.span.start for shot in library.shots(grounded.video)]
    yield curve_of(grounded.curve, [moment.span for moment in grounded.moments if moment.present], shots)
    if clip.exists():
        data = base64.b64encode(clip.read_bytes()).decode()
        yield f'<video controls muted loop src="data:video/mp4;base64,{data}"></video>'
    yield "<ul>" + "".join(
        f"<li>{moment.span} {confidence(moment)}{matches(moment)}</li>" for moment in grounded.moments if moment.present
    )
    yield "</ul></article>"


def ledger_of(library: saccade.Library) -> Iterator[str]:
    yield "<table><tr><th>film<th>length<th>shots<th>ledger"
    for report in library.info():
        if report.id is None or report.duration is None:
            yield f"<tr><td>{html.escape(report.path)}<td><td><td>{html.escape(report.error)}"
            continue
        lines = "".join(
            f"<li>{line.sense}: {line.state}, {line.items} {html.escape(line.tool)} {html.escape(line.note)}</li>"
            for line in report.coverage
        )
        whole = saccade.Hit(Span(0.0, report.duration), 0.0, 0.0, (), report.id, report.path)
        yield (
            f"<tr><td>{picture(library.show(whole, 4))}<b>{html.escape(Path(report.path).name)}</b>"
            f"<td>{clock(report.duration)}<td>{len(library.shots(report.id))}<td><ul>{lines}</ul>"
        )
    yield "</table>"


def curve_of(curve: Sequence[CurvePoint], found: Sequence[Span], cuts: Sequence[float]) -> str:
    """The relevance curve as bars over time, with the found spans behind and the cuts as ticks."""
    width, height = 900.0, 120.0
    end = curve[-1].span.end
    highest = max(point.score for point in curve) or 1.0
    x = width / end

    def box(span: Span, top: float, name: str) -> str:
        left, wide = span.start * x, max(1.0, span.duration * x - 1)
        return f'<rect class="{name}" x="{left:.1f}" y="{top:.1f}" width="{wide:.1f}" height="{height - top:.1f}"/>'

    drawn = [box(span, 0.0, "found") for span in found]
    drawn += [box(point.span, height - height * point.score / highest, "bar") for point in curve]
    drawn += [f'<path d="M{second * x:.1f} {height}v8"/>' for second in cuts]
    drawn += [f'<text x="{t * x:.1f}" y="{height + 22}">{clock(t)}</text>' for t in range(0, int(end), 5)]
    label = f"relevance over {end:.0f} seconds"
    return f'<svg viewBox="0 0 {width:.0f} {height + 26:.0f}" role="img" aria-label="{label}">{"".join(drawn)}</svg>'


def picture(image: object) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)  # type: ignore[attr-defined]
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}">'


def confidence(moment: Moment) -> str:
    return f'<span class="confidence">confidence {moment.confidence:.2f}</span>'


def matches(moment: Moment) -> str:
    lines = (f"<li><i>{match.kind}</i> {html.escape(match.text)}</li>" for match in moment.matched)
    return f"<ul>{''.join(lines)}</ul>"


def say(sentence: str) -> None:
    print(sentence, flush=True)


HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>saccade: what the demo found</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
:root { color-scheme: light dark; --ink: #1d1f24; --paper: #f6f5f2; --card: #fff; --line: #d9d6cf; --accent: #b3412e }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e6e1; --paper: #17181b; --card: #202227; --line: #363940; --accent: #f0836d }
}
body { margin: 0; font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper) }
header, main { max-width: 1000px; margin: 0 auto; padding: 24px }
h1 { margin: 0; letter-spacing: -.02em } h2 { margin: 40px 0 12px; font-size: 1.1rem; color: var(--accent) }
article { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 16px 20px;
margin: 16px 0 }
h3 { margin: 0 0 8px } figure { margin: 12px 0 0 } figure.miss { opacity: .55 }
img, video, svg { max-width: 100%; border-radius: 6px; display: block; margin-bottom: 6px } video { width: 480px }
ul { margin: 4px 0; padding-left: 20px } i { color: var(--accent); font-style: normal; font-size: .85em }
.confidence { opacity: .7; font-size: .9em } .absent { color: var(--accent); margin: 0 }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; vertical-align: top; padding: 8px;
border-bottom: 1px solid var(--line) } td ul { font-size: .85em; padding-left: 14px }
.found { fill: var(--accent); opacity: .18 } .bar { fill: var(--accent) } path { stroke: currentColor }
text { font-size: 11px; fill: currentColor; opacity: .7 }
</style>"""


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
    except SaccadeError as error:
        sys.exit(f"demo: {error}")
