"""The picture of docs/scan.md: `PYTHONPATH=tests python tests/scan/picture.py PAGE OUT [WIDTH]`."""

from __future__ import annotations

import base64
import sys
import tempfile
from pathlib import Path

from browser import chromium, opened

HEIGHT = 1260  # the table and the first finding


def draw(page: Path, out: Path, *, width: int = 1400, scheme: str = "light") -> None:
    """Write the top of a page as PNG.

    Raises:
        ValueError: there is no page, or no browser.
    """
    path = chromium()
    if not page.is_file():  # a browser would show its own error page
        raise ValueError(f"there is no page {page}; write it with `swarmproof scan RUN --html`")
    if path is None:
        raise ValueError("no chromium is installed")
    with tempfile.TemporaryDirectory() as profile, opened(path, Path(profile)) as tab:
        tab.open(page.resolve(), scheme=scheme, width=width)
        clip = {"x": 0, "y": 0, "width": width, "height": HEIGHT, "scale": 1}
        shot = tab.send("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        out.write_bytes(base64.b64decode(shot["data"]))


if __name__ == "__main__":
    try:
        draw(Path(sys.argv[1]), Path(sys.argv[2]), width=int((sys.argv[3:] or ["1400"])[0]))
    except ValueError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
