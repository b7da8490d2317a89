"""A real Chromium without a screen, and what it makes of a page: what it loads, complains about, and paints."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from selenium.webdriver import Chrome
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

MISSING = "the page is tested in a real Chromium; install it (Debian: apt-get install chromium chromium-driver)"


def installed() -> bool:
    return shutil.which("chromium") is not None and shutil.which("chromedriver") is not None


@contextmanager
def chromium() -> Iterator[Browser]:
    options = Options()
    options.binary_location = shutil.which("chromium")
    for argument in (
        "--headless=new",
        "--no-sandbox",  # root in a container has none
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
        "--force-color-profile=srgb",
        "--lang=en",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield Browser(driver)
    finally:
        driver.quit()


class Browser:
    """One tab. ``driver`` is selenium's."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def open(self, page: Path, width: int = 1280, height: int = 900, scheme: str = "light", media: str = "") -> None:
        """With that window and taste; what was said of earlier pages is forgotten."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        self.prefer(scheme, media)
        self.errors(), self.requests()
        self.driver.get(page.as_uri())

    def prefer(self, scheme: str, media: str = "") -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.devtools("Emulation.setEmulatedMedia", media=media, features=features)

    def devtools(self, command: str, **arguments: object) -> dict:
        return self.driver.execute_cdp_cmd(command, arguments)

    def js(self, code: str, *arguments: object) -> object:
        return self.driver.execute_script(code, *arguments)

    def errors(self) -> list[str]:
        """What the console says since the last look."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Addresses that were asked for since the last look, but for what lies in the page itself."""
        messages = (json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance"))
        urls = (m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent")
        return [url for url in urls if not url.startswith("data:")]

    def pixel(self, x: float, y: float) -> str:
        """The colour of a point of the window, as ``#rrggbb``."""
        image = Image.open(io.BytesIO(base64.b64decode(self.devtools("Page.captureScreenshot", format="png")["data"])))
        return "#{:02x}{:02x}{:02x}".format(*image.convert("RGB").getpixel((round(x), round(y))))
