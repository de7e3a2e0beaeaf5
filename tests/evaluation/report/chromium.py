"""Headless Chromium: a page in frames of given widths, looked at by a script, and printed."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-extensions", "--hide-scrollbars", "--enable-logging=stderr",
)  # fmt: skip
# In each frame, before anything of the page: what goes wrong is noted.
_WATCH = """<script>
var problems = [];
addEventListener("error", (e) => problems.push("error: " + (e.message || e.target.outerHTML.slice(0, 80))), true);
addEventListener("unhandledrejection", (e) => problems.push("rejected: " + e.reason));
addEventListener("securitypolicyviolation", (e) => problems.push("refused: " + e.violatedDirective + " " + e.blockedURI));
console.error = (...words) => problems.push("console: " + words.join(" "));
</script>"""


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Start Chromium with a profile of its own."""
    assert CHROMIUM is not None
    command = [CHROMIUM, *_OPTIONS, f"--user-data-dir={folder / 'profile'}", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def look(folder: Path, page: str, probe: str, widths: dict[str, int], *options: str) -> dict[str, Any]:
    """What a script finds in a page.

    Args:
        folder: For the files.
        page: The page; it is shown once in a frame of each width.
        probe: Body of an async function of `frames`, the frames' windows by name, that returns what JSON can hold. A frame
            whose name begins with "plain" runs no scripts.
        widths: Widths of the frames by name, in pixels.
        options: Further ones, for Chromium.
    """
    source = html.escape(page.replace("<head>", f"<head>{_WATCH}", 1))
    frames = "".join(
        f'<iframe name="{name}" style="width:{width}px;height:800px;border:0" srcdoc="{source}"'
        f"{' sandbox=allow-same-origin' if name.startswith('plain') else ''}></iframe>"
        for name, width in widths.items()
    )
    script = f"""<script>
    async function probe(frames) {{ {probe} }}
    addEventListener("load", async () => {{
      const frames = Object.fromEntries(Array.from(document.querySelectorAll("iframe"), (f) => [f.name, f.contentWindow]));
      let found;
      try {{ found = await probe(frames); }} catch (e) {{ found = {{ failed: String(e) + e.stack }}; }}
      const result = document.createElement("pre");
      result.id = "result";
      result.textContent = JSON.stringify(found);
      document.body.append(result);
    }});</script>"""
    path = folder / "look.html"
    path.write_text(f"<!doctype html><meta charset=utf-8><body>{frames}{script}", encoding="utf-8")
    done = run(folder, "--virtual-time-budget=5000", *options, "--dump-dom", path.as_uri())
    result = re.search(r'<pre id="result">(.*?)</pre>', done.stdout, re.DOTALL)
    assert result, done.stderr[-2000:]
    found = json.loads(html.unescape(result[1]))
    assert "failed" not in found, found
    return {**found, "console": [line for line in done.stderr.splitlines() if "CONSOLE" in line]}
