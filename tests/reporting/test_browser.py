"""The page in a real browser, Chromium without a window, on a desk and on a telephone."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cmr_bench.reporting import report

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")  # fmt: skip

FRAME = """<!doctype html><iframe src="index.html" width="{width}" height="900" style="border:0"></iframe>
<script>addEventListener("load", () => {{
  const page = document.querySelector("iframe").contentDocument;
  page.querySelectorAll("details").forEach(each => each.open = true);
  const box = each => each.getBoundingClientRect();
  document.title = JSON.stringify({{
    width: page.documentElement.scrollWidth,
    pictures: [...page.images].map(i => [i.alt, i.complete && i.naturalWidth, box(i).right]),
    smallest: Math.min(...[...page.querySelectorAll("p, td, th, li, small")].map(
      each => parseFloat(getComputedStyle(each).fontSize))),
    heads: [...page.querySelectorAll("h1, h2")].map(each => each.textContent),
  }});
}});</script>"""


def seen(folder: Path, width: int) -> dict[str, Any]:
    """What a browser of this width makes of the page."""
    (folder / "frame.html").write_text(FRAME.format(width=width))
    found = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
            f"--user-data-dir={folder / 'profile'}", f"--window-size={width + 100},1000",
            "--virtual-time-budget=10000", "--dump-dom", (folder / "frame.html").as_uri(),
        ],
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    told = re.search("<title>(.*?)</title>", found.stdout, re.DOTALL)
    assert told, found.stderr[-2000:]
    return dict(json.loads(html.unescape(told[1])))


@pytest.mark.skipif(not BROWSER, reason="needs a browser: apt-get install chromium")
@pytest.mark.parametrize("width", [1400, 390])
def test_a_browser_shows_the_whole_page_without_scrolling_sideways(
    root: Path, tmp_path: Path, width: int
) -> None:
    report(root, tmp_path)
    page = seen(tmp_path, width)
    assert page["width"] <= width
    assert page["heads"][0] == "Synthetic cardiac MRI: fidelity, utility, privacy"
    assert len(page["pictures"]) > 2 and page["smallest"] >= 10
    for alt, natural, _ in page["pictures"]:
        assert alt and natural > 0
    if width > 1000:
        assert all(right <= width for *_, right in page["pictures"])
