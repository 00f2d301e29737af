"""Make the pictures of the README: the example laboratory on simulators, its page in a browser without a window.

Run `make pictures`, after whatever changes how the page looks.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.request import urlopen

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
PORT = 8097
MINUTES = 6  # until the sparklines show something


def main() -> None:
    """Run the laboratory, wait, and look."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "docs").symlink_to(ROOT / "docs")  # the met station's files
        site = Path(folder) / "site.toml"
        text = (ROOT / "site.example.toml").read_text(encoding="utf-8")
        site.write_text(f"{text}\n[serve]\nport = {PORT}\n", encoding="utf-8")
        programs = [
            subprocess.Popen([sys.executable, "-m", *words, str(site), *more], cwd=ROOT)
            for words, more in ((("iocs", "run"), ["--sim"]), (("archiver", "run"), []), (("archiver", "serve"), []))
        ]
        try:
            time.sleep(20)
            for channel, volts in ((0, 30), (1, 80), (2, 150)):
                words = ["-c", str(channel), "-v", str(volts), "--on"]
                subprocess.run([sys.executable, "-m", "iocs.hv", "set", str(site), *words], cwd=ROOT, check=True)
            time.sleep(60 * MINUTES)
            urlopen(f"http://127.0.0.1:{PORT}/").close()
            look()
        finally:
            for program in programs:
                program.terminate()
            for program in programs:
                program.wait()


def look() -> None:
    """Take the pictures."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, place, width, height in (("page", "", 1280, 870), ("phone", "PMU", 390, 844)):
            page = browser.new_page(viewport={"width": width, "height": height})
            page.goto(f"http://127.0.0.1:{PORT}/#/{place}")
            page.wait_for_selector("main .spark path.line", state="attached")
            page.wait_for_timeout(1500)
            page.screenshot(path=PICTURES / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    main()
