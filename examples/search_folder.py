"""Find a moment in a folder of videos, and say so when it is not in there.

    python examples/search_folder.py ~/Videos "she opens the red door"

The first run indexes the folder into a library beside it; later runs only look at what is new.
"""

from __future__ import annotations

import sys
from pathlib import Path

import saccade


def main(folder: str, query: str) -> None:
    with saccade.open(Path(folder) / "saccade-library") as library:
        report = library.add(folder)
        for file in report.failed:
            print(f"not indexed: {file.path}: {file.note}")
        found = library.search(query, k=3)
    print("Found:" if found.present else "It is not in here. The closest were:")
    for hit in found:
        evidence = "; ".join(match.text for match in hit.matched if match.text)
        print(f"  {Path(hit.path).name}  {hit.span}  {hit.confidence:.3f}  {evidence}")


if __name__ == "__main__":
    main(*sys.argv[1:])
