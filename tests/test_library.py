"""The façade on real files: drawn here, decoded, indexed, searched."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import saccade
from saccade.datasets.gym import write_video
from saccade.errors import InputError, LibraryError, NotInLibrary
from saccade.ingest import ingest
from saccade.video import sample

CLIPS, SECONDS, FPS = 20, 4, 10


def patterns(seed: int) -> np.ndarray:
    """Two scenes, uint8 (2, 96, 128, 3): coarse random colours."""
    coarse = np.random.default_rng(seed).integers(0, 256, size=(2, 6, 8, 3), dtype=np.uint8)
    return coarse.repeat(16, axis=1).repeat(16, axis=2)


def frames(seed: int):
    """Four seconds of two scenes that drift to the right."""
    for index in range(SECONDS * FPS):
        yield np.roll(patterns(seed)[index * 2 // (SECONDS * FPS)], index, axis=1)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for number in range(CLIPS):
        write_video(folder / f"clip{number:02d}.mp4", frames(number), fps=FPS, keyframe_every=10)
    (folder / "clip03.en.srt").write_text(
        "1\n00:00:00,500 --> 00:00:01,900\nThe ferry leaves at noon.\n\n"
        "2\n00:00:02,100 --> 00:00:03,800\nNobody bought a ticket.\n"
    )
    return folder


@pytest.fixture(scope="module")
def library(clips: Path, tiny_clip: Path, tmp_path_factory: pytest.TempPathFactory):
    with saccade.open(tmp_path_factory.mktemp("library"), encoder=str(tiny_clip)) as library:
        report = library.add(clips, senses=["seen", "subtitles"], every=0.5, mode="exact")
        assert len(report.done) == CLIPS and not report.failed
        yield library


@pytest.mark.parametrize("number, second", [(0, 1.0), (7, 2.5), (13, 3.5), (19, 0.0)])
def test_a_frame_finds_the_moment_it_was_cut_from(
    library: saccade.Library, clips: Path, tmp_path: Path, number: int, second: float
) -> None:
    frame = next(sample(clips / f"clip{number:02d}.mp4", at=[second])).images[0]
    Image.fromarray(frame).save(tmp_path / "frame.png")
    hit = library.search(image=tmp_path / "frame.png")[0]
    assert Path(hit.path).name == f"clip{number:02d}.mp4"
    assert hit.span.start <= second < hit.span.end
    assert hit.matched[0].kind == "seen"
    assert library.search(image=frame)[0].span == hit.span, "an array is as good as a file"


def test_subtitles_are_found_in_two_languages(library: saccade.Library) -> None:
    for query in ("ferry", "when does the ferry leave", "페리는 정오에 떠난다"):
        hit = library.search(query, evidence=["said"])[0]
        assert (Path(hit.path).name, hit.span.start) == ("clip03.mp4", 0.5), query
        assert hit.matched[0].text == "The ferry leaves at noon."


def test_words_that_nothing_understands_are_named(library: saccade.Library) -> None:
    assert library.search("the ferry ᚠᛇᚻ").unknown_words == ("ᚠᛇᚻ",)
    assert library.search("the ferry 페리").unknown_words == ()


def test_ground_gives_spans_and_a_curve(library: saccade.Library, clips: Path) -> None:
    result = library.ground(str(clips / "clip03.mp4"), "a ticket", evidence=["said"])
    assert result.best is not None and result.best.span.start == 2.1
    assert [point.span.start for point in result.curve] == [0.0, 2.0]
    assert result.curve[1].score > result.curve[0].score
    assert result.video == library.ground("clip03.mp4", "a ticket").video


def test_features_are_the_stored_vectors(library: saccade.Library) -> None:
    features = library.features("clip05.mp4")
    assert features.vectors.shape == (len(features.seconds), 24)
    assert np.allclose(np.linalg.norm(features.vectors, axis=1), 1.0, atol=2e-3)
    assert features.seconds.tolist() == [0.5 * index for index in range(8)]


def test_shots_are_those_that_were_drawn(library: saccade.Library) -> None:
    shots = library.shots("clip05.mp4")
    assert [(shot.span.start, shot.entered_by) for shot in shots] == [(0.0, "start"), (2.0, "cut")]
    assert shots[-1].span.end == SECONDS


def test_search_stays_within_its_filters(library: saccade.Library) -> None:
    image = patterns(4)[1]
    where = {"videos": ["clip05.mp4", "clip06.mp4"], "start": 2.0}
    hits = library.search(image=image, k=10, **where)
    assert {Path(hit.path).name for hit in hits} <= {"clip05.mp4", "clip06.mp4"} and len(hits) > 1
    assert all(hit.span.end > 2.0 for hit in hits)
    assert not library.search(image=image, kind="audio").hits
    assert not library.search(image=image, after=datetime(2020, 1, 1, tzinfo=UTC)).hits, "no clip has a date"


def test_a_library_remembers_its_encoder(library: saccade.Library) -> None:
    with saccade.open(library.catalog.folder) as again:
        assert again.search("anything at all").encoder == library.encoder().name


def test_show_draws_the_moment(library: saccade.Library) -> None:
    hit = library.search(image=patterns(8)[0])[0]
    picture = library.show(hit, frames=3)
    assert picture.width > 3 * 160 and picture.height > 160


def test_info_has_a_row_for_every_file(library: saccade.Library, clips: Path) -> None:
    reports = library.info()
    assert [Path(report.path).name for report in reports] == sorted(path.name for path in clips.glob("*.mp4"))
    seen = next(line for line in reports[0].coverage if line.sense == "seen")
    assert (seen.state, seen.items, seen.seconds_seen) == ("done", 8, SECONDS)
    assert len(library.info("clip03.mp4")) == 1


def test_removed_is_forgotten(clips: Path, tmp_path: Path) -> None:
    with saccade.open(tmp_path / "library") as library:
        library.add(clips / "clip03.mp4", clips / "clip04.mp4", senses=["seen", "subtitles"])
        assert library.search("ferry", evidence=["said"]).hits
        library.remove("clip03.mp4")
        assert not library.search("ferry", evidence=["said"]).hits
        assert [Path(report.path).name for report in library.info()] == ["clip04.mp4"]
        with pytest.raises(NotInLibrary):
            library.texts("clip03.mp4")
    for path in (tmp_path / "library").rglob("*"):
        if path.is_file() and path.suffix == ".npz":
            assert "ferry" not in str(np.load(path)["texts"])


def test_without_an_encoder_search_says_so(clips: Path, tmp_path: Path) -> None:
    with saccade.open(tmp_path / "library") as library:
        library.add(clips / "clip03.mp4", senses=["subtitles"])
        result = library.search("ferry")
        assert result.encoder is None and "no frame in here" in result.warnings[0] and result[0].span.start == 0.5
        assert not library.search("ferry", evidence=["said"]).warnings
        with pytest.raises(InputError, match="search by image"):
            library.search(image=patterns(0)[0])
        with pytest.raises(LibraryError, match="no vectors"):
            library.features("clip03.mp4")


@pytest.fixture
def box(tiny_builtin: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny model takes the place of the one in the package."""
    monkeypatch.setattr("saccade.encode.builtin.FOLDER", tiny_builtin)
    return tiny_builtin


def test_a_new_library_has_the_eyes_that_come_in_the_box(box: Path, clips: Path, tmp_path: Path) -> None:
    with saccade.open(tmp_path / "library") as library:
        library.add(clips / "clip03.mp4", clips / "clip04.mp4", senses=["seen"])
        name = library.encoder().name
        assert name.startswith("saccade-builtin@") and library.catalog.encoders() == [name]
        assert library.catalog.get_meta("encoder_place") == "builtin"
        assert library.search("anything").encoder == name and not library.search("anything").warnings[1:]
        hit = library.search(image=next(sample(clips / "clip04.mp4", at=[1.0])).images[0])[0]
        assert Path(hit.path).name == "clip04.mp4"


def test_a_library_keeps_the_encoder_it_was_made_with(box: Path, library: saccade.Library, clips: Path) -> None:
    known = library.encoder().name
    with saccade.open(library.catalog.folder) as again:
        again.add(clips, senses=["seen"], every=0.5, mode="exact")
        assert again.catalog.encoders() == [known] == [again.encoder().name]
    with (
        saccade.open(library.catalog.folder, encoder="builtin") as other,
        pytest.raises(InputError, match="migrate --encoder builtin"),
    ):
        other.add(clips, senses=["seen"])


def test_an_encoder_that_moved_is_found_again_once_it_is_named(tiny_builtin: Path, clips: Path, tmp_path: Path) -> None:
    before, after = tmp_path / "before" / "eyes", tmp_path / "after" / "eyes"
    shutil.copytree(tiny_builtin, before)
    with saccade.open(tmp_path / "library", encoder=str(before)) as library:
        library.add(clips / "clip04.mp4", senses=["seen"])
    before.parent.rename(after.parent)
    with saccade.open(tmp_path / "library") as library:
        assert "said and written only" in library.search("anything").warnings[0]
    with saccade.open(tmp_path / "library", encoder=str(after)) as library:
        library.add(clips / "clip04.mp4", senses=["seen"])
    with saccade.open(tmp_path / "library") as library:
        assert library.catalog.get_meta("encoder_place") == str(after)
        assert not any("said and written only" in warning for warning in library.search("anything").warnings)


def test_a_library_without_eyes_gets_them_from_its_proxies(box: Path, clips: Path, tmp_path: Path) -> None:
    source = tmp_path / "clip.mp4"
    shutil.copy(clips / "clip03.mp4", source)
    with saccade.open(tmp_path / "library") as library:
        ingest(library.catalog, [str(source)], senses=["seen"])
        assert library.catalog.encoders() == []
        source.unlink()
        library.add(source, senses=["seen"])
        seen = next(line for line in library.info("clip.mp4")[0].coverage if line.sense == "seen")
        assert (seen.state, seen.made_from, seen.tool) == ("done", "proxy", library.encoder().name)


def test_eyes_that_cannot_be_opened_leave_the_rest_findable(clips: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("saccade.encode.builtin.FOLDER", tmp_path / "empty")
    with saccade.open(tmp_path / "library") as library:
        report = library.add(clips / "clip03.mp4", senses=["seen", "subtitles"])
        assert len(report.done) == 1 and "no tower.onnx" in report.warnings[0]
        assert library.search("ferry").hits and library.shots("clip03.mp4")


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"query": "  "},
        {"query": "a", "image": patterns(0)[0]},
        {"query": "a", "k": 0},
        {"query": "a", "evidence": ["x"]},
    ],
)
def test_questions_that_make_no_sense_are_refused(library: saccade.Library, arguments: dict) -> None:
    with pytest.raises(InputError):
        library.search(**arguments)


def test_a_picture_that_is_none_is_refused(library: saccade.Library, tmp_path: Path) -> None:
    (tmp_path / "note.png").write_text("no picture")
    with pytest.raises(InputError, match="cannot be read as a picture"):
        library.search(image=tmp_path / "note.png")


def test_opening_does_not_make_a_library_unasked(tmp_path: Path) -> None:
    with pytest.raises(LibraryError):
        saccade.open(tmp_path / "nowhere", create=False)
    assert not (tmp_path / "nowhere").exists()
