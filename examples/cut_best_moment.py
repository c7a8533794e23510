"""Search a library and cut the best moment out of its file, exactly, as a clip to send to somebody.

python examples/cut_best_moment.py saccade-library "the demo fails" clip.mp4
"""

from __future__ import annotations

import sys

import saccade
from saccade.video.cut import cut


def main(library: str, query: str, target: str) -> None:
    with saccade.open(library, create=False) as lib:
        found = lib.search(query, k=1)
    if not found.present:
        sys.exit("It is not in here.")
    clip = cut(found[0].path, found[0].span, target, exact=True)
    print(f"{clip.path}: {clip.span} of {found[0].path}")


if __name__ == "__main__":
    main(*sys.argv[1:])
