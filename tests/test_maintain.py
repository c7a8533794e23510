"""Doctor: says what works here, what is missing and how to get it; one broken thing does not hide the others."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fabricated import Made, put
from saccade import maintain
from saccade.encode import load_encoder
from saccade.index.catalog import Catalog
from saccade.maintain import STATES, Check, checks_to_json, doctor


def library_of(folder: Path, *, encoder: str) -> Catalog:
    """A library of one made-up video with two frames seen by this encoder."""
    catalog = Catalog.open(folder, create=True)
    put(catalog, Made("a.mp4", 2.0, vectors=np.eye(2, 4)), encoder)
    return catalog


def found(checks: list[Check], name: str) -> Check:
    return next(check for check in checks if check.name == name)


def test_this_installation_is_well() -> None:
    checks = doctor()
    names = [check.name for check in checks]
    assert len(set(names)) == len(names) and all(check.state in STATES and check.detail for check in checks)
    for name in ("machine", "decoders", "encoders", "SQLite", "ONNX Runtime", "sentence encoder"):
        assert found(checks, name).state == "ok", found(checks, name)
    assert "H.264" in found(checks, "decoders").detail and "CPU" in found(checks, "ONNX Runtime").detail
    assert found(checks, "sentence encoder").licence == "Apache-2.0"


def test_what_is_optional_and_missing_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintain, "_version", lambda package: None)
    checks = doctor()
    for name, extra in (("speech", "speech"), ("text on screen", "ocr"), ("URLs", "download")):
        check = found(checks, name)
        assert check.state == "absent" and f"saccade[{extra}]" in check.fix
    assert checks_to_json(checks)["ok"] is True


def test_altered_weights_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from saccade.encode import text

    monkeypatch.setattr(text, "WEIGHTS_SHA256", "0" * 64)
    checks = doctor()
    check = found(checks, "sentence encoder")
    assert check.state == "broken" and "reinstall" in check.fix
    assert found(checks, "SQLite").state == "ok"


def test_the_built_in_encoder_shows_its_notice(
    tiny_builtin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(tiny_builtin, tmp_path / "eyes")
    monkeypatch.setattr("saccade.encode.builtin.FOLDER", folder)
    checks = doctor()
    assert found(checks, "built-in encoder").state == "ok"
    assert found(checks, "its notice").detail == "Weights of chance."
    (folder / "tower.onnx").write_bytes((folder / "tower.onnx").read_bytes() + b"x")
    check = found(doctor(), "built-in encoder")
    assert check.state == "broken" and "sha256" in check.detail and "reinstall" in check.fix
    (folder / "SHA256SUMS").unlink()
    assert "SHA256SUMS is missing" in found(doctor(), "built-in encoder").detail


def test_a_look_that_fails_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def _runtime():
        raise ImportError("no such library")
        yield

    monkeypatch.setattr(maintain, "_runtime", _runtime)
    checks = doctor()
    assert found(checks, "runtime").state == "broken" and found(checks, "sentence encoder").state == "ok"
    assert json.loads(json.dumps(checks_to_json(checks)))["ok"] is False


def test_no_library_is_no_harm(tmp_path: Path) -> None:
    check = found(doctor(tmp_path / "none"), "library")
    assert check.state == "absent" and not (tmp_path / "none").exists()


def test_a_sound_library_is_called_sound(tmp_path: Path) -> None:
    Catalog.open(tmp_path / "my library", create=True).close()
    checks = doctor(tmp_path / "my library")
    assert [found(checks, name).state for name in ("library", "integrity", "disk")] == ["ok", "ok", "ok"]
    assert "MB" in found(checks, "disk").detail


def test_a_library_whose_encoder_has_changed_is_told_to_migrate(tmp_path: Path, tiny_builtin: Path) -> None:
    eyes = shutil.copytree(tiny_builtin, tmp_path / "eyes")
    name = load_encoder(str(eyes)).name
    for known, state in ((name, "ok"), ("eyes@00000000", "broken")):
        with library_of(tmp_path / state, encoder=known) as catalog:
            catalog.set_meta("encoder_place", str(eyes))
        check = found(doctor(tmp_path / state), "library's encoder")
        assert check.state == state and known in check.detail
    assert check.fix == f"saccade migrate --encoder {eyes}"
    shutil.rmtree(eyes)
    assert "cannot be loaded" in found(doctor(tmp_path / "ok"), "library's encoder").detail


@pytest.mark.parametrize("content", [b"no database", b""])
def test_what_is_no_library_is_called_broken(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "library.db").write_bytes(content)
    check = found(doctor(tmp_path), "library")
    assert check.state == "broken" and str(tmp_path) in check.detail


def test_a_damaged_page_is_found(tmp_path: Path) -> None:
    Catalog.open(tmp_path, create=True).close()
    database = tmp_path / "library.db"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE ballast (x)")
        connection.executemany("INSERT INTO ballast VALUES (?)", [("w" * 500,)] * 2000)
    connection.close()
    content = bytearray(database.read_bytes())
    content[-300 * 1024 : -200 * 1024] = b"\xa5" * (100 * 1024)
    database.write_bytes(bytes(content))
    states = {check.name: check.state for check in doctor(tmp_path)}
    assert "broken" in (states.get("integrity"), states.get("library"))


def test_an_encoder_that_is_none_is_called_broken(tmp_path: Path) -> None:
    check = found(doctor(encoder=str(tmp_path)), "frame encoder")
    assert check.state == "broken" and "vision_model" in check.detail


def test_an_encoder_in_the_built_ins_layout_has_no_int8_files_to_compare(tiny_builtin: Path) -> None:
    checks = doctor(encoder=str(tiny_builtin))
    assert found(checks, "frame encoder").state == "ok" and not any(check.name == "int8" for check in checks)


def test_int8_files_are_compared_with_full_precision(tmp_path: Path, need: Any) -> None:
    need("torch"), need("transformers")
    import tiny_models

    folder = tiny_models.tiny_clip(tmp_path / "clip").folder
    checks = doctor(encoder=str(folder))
    assert found(checks, "frame encoder").state == "ok" and found(checks, "int8").state == "absent"
    tiny_models.quantise(folder)
    check = found(doctor(encoder=str(folder)), "int8")
    assert check.state in ("ok", "broken") and "cosine to full precision" in check.detail
