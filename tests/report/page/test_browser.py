"""The page as a reader has it: in a real Chromium, from ``file://``."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from selenium.common.exceptions import NoAlertPresentException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select

from profiler.report.content.report import NamedTable, Report
from profiler.report.content.table import Column, Kind, Table
from profiler.report.figures import render
from profiler.report.figures.theme import DARK, LIGHT
from profiler.report.page.page import PageFigure, page_html
from tests.report import examples
from tests.report.page.chromium import MISSING, Browser, chromium, installed
from tests.report.page.test_page import page_of

if not installed():
    pytest.skip(MISSING, allow_module_level=True)

LAYERS = Table(
    (
        Column("number", "#", Kind.NUMBER),
        Column("layer", "layer"),
        Column("int4_s", "INT4", Kind.SECONDS),
        Column("int4_verdict", "INT4 is"),
        Column("cause", "likely cause"),
    ),
    (
        (1, "conv10", 9.9e-3, "faster", ""),
        (2, "conv2", 1e-2, "slower", "short of Channels"),
        (3, "conv9", None, "not known", ""),
        (4, "Conv1", 320e-6, "slower", "launching"),
        (5, "add", 1e-2, "faster", ""),
        (6, "fc", 2e-9, "same", "memory-bound"),
    ),
)
"""Texts in the order of numbers (9.9 ms, 10 ms, 320 us, 2 ns) are not in the order of what they say."""
NAMES = [row[1] for row in LAYERS.rows]
LIGHT_FIGURE, DARK_FIGURE = "#c0ffee", "#0b5e55"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("a folder # with ? odd characters")
    small = replace(examples.report_with_gaps(), layers=NamedTable("layers", "All layers", LAYERS))
    plain = page_html(small, {"speedup": PageFigure(examples.svg(LIGHT_FIGURE), examples.svg(DARK_FIGURE))})
    texts = {
        "small": plain,
        "whole": page_of(examples.report()),
        "hostile": page_of(examples.hostile_report()),
        "long": page_of(_long_names()),
    }
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in texts}


def _long_names() -> Report:
    """120 layers, each with a name of 200 characters, as in InceptionV3 from a careless exporter."""
    return examples.report(tuple(f"{index:03d}/" + "block_" * 32 + "conv" for index in range(120)))


@pytest.fixture
def small(browser: Browser, pages: dict[str, Path]) -> Browser:
    browser.open(pages["small"])
    return browser


def names(browser: Browser) -> list[str]:
    """Of the rows that are shown, from top to bottom as they are painted."""
    rows = browser.driver.find_elements(By.CSS_SELECTOR, "#all-layers tbody tr")
    shown = [row for row in rows if row.is_displayed()]
    return [row.find_element(By.TAG_NAME, "th").text for row in sorted(shown, key=lambda row: row.rect["y"])]


def button(browser: Browser, title: str) -> WebElement:
    (found,) = (
        element
        for element in browser.driver.find_elements(By.CSS_SELECTOR, "#all-layers thead button")
        if element.text.strip() == title
    )
    return found


def sorts(browser: Browser) -> dict[str, str]:
    """Columns by which the table says that it is sorted."""
    headers = browser.driver.find_elements(By.CSS_SELECTOR, "#all-layers thead th")
    return {
        header.text.strip(): header.get_attribute("aria-sort")
        for header in headers
        if header.get_attribute("aria-sort") != "none"
    }


def find(browser: Browser) -> WebElement:
    return browser.driver.find_element(By.ID, "find")


def count(browser: Browser) -> str:
    return browser.driver.find_element(By.ID, "count").text


@pytest.mark.parametrize("name", ["small", "whole", "hostile", "long"])
def test_it_loads_nothing_and_complains_of_nothing(browser: Browser, pages: dict[str, Path], name: str) -> None:
    browser.open(pages[name])
    assert browser.requests() == [pages[name].as_uri()]
    assert browser.errors() == []


def test_what_is_not_of_the_page_is_refused(browser: Browser, pages: dict[str, Path], tmp_path: Path) -> None:
    """The policy holds: were a name to become an element after all, it would run and load nothing."""
    injected = (
        "<script>document.title = 'taken'</script><img id='x' src='x.svg'>"
        "<b style='color: red' onclick='document.title = 1'>b</b></body>"
    )
    (tmp_path / "x.svg").write_bytes(examples.svg("#ff0000"))
    page = tmp_path / "injected.html"
    page.write_text(pages["small"].read_text().replace("</body>", injected), encoding="utf-8")
    browser.open(page)
    assert browser.driver.title != "taken"
    assert browser.js("return document.getElementById('x').naturalWidth") == 0
    assert len([error for error in browser.errors() if "Content Security Policy" in error]) >= 3
    assert browser.js("return getComputedStyle(document.querySelector('b')).color") != "rgb(255, 0, 0)"


def test_numbers_are_sorted_as_numbers_and_nothing_comes_last(small: Browser) -> None:
    assert names(small) == NAMES
    assert sorts(small) == {}
    button(small, "INT4").click()
    assert names(small) == ["fc", "Conv1", "conv10", "conv2", "add", "conv9"]
    assert sorts(small) == {"INT4": "ascending"}
    button(small, "INT4").click()
    assert names(small) == ["conv2", "add", "conv10", "Conv1", "fc", "conv9"]
    assert sorts(small) == {"INT4": "descending"}
    button(small, "INT4").click()
    assert names(small) == NAMES
    assert sorts(small) == {}


def test_texts_are_sorted_as_people_count(small: Browser) -> None:
    button(small, "layer").click()
    assert names(small) == ["add", "Conv1", "conv2", "conv9", "conv10", "fc"]
    button(small, "layer").click()
    assert names(small) == ["fc", "conv10", "conv9", "conv2", "Conv1", "add"]
    button(small, "likely cause").click()
    assert names(small)[:3] == ["Conv1", "fc", "conv2"]
    button(small, "likely cause").click()
    assert names(small)[:3] == ["conv2", "fc", "Conv1"]


def test_sorting_is_stable(small: Browser) -> None:
    """By one column after another: the earlier one still counts where the later one is even."""
    button(small, "layer").click()
    button(small, "INT4 is").click()
    assert sorts(small) == {"INT4 is": "ascending"}
    assert names(small) == ["add", "conv10", "conv9", "fc", "Conv1", "conv2"]


def test_back_to_the_networks_order(small: Browser) -> None:
    button(small, "layer").click()
    button(small, "INT4").click()
    small.driver.find_element(By.ID, "network-order").click()
    assert names(small) == NAMES
    assert sorts(small) == {}


def test_the_keyboard_does_it_too(small: Browser) -> None:
    """From the search box by tabs alone; the focus can be seen and stays where it is."""
    find(small).click()
    visited = []
    for _ in range(20):
        active = small.driver.switch_to.active_element
        visited.append(active.text.strip() if active.tag_name == "button" else active.tag_name)
        if visited[-1] == "INT4":
            break
        active.send_keys(Keys.TAB)
    # the box between them scrolls by arrow keys
    assert visited == ["input", "select", "Network's order", "div", "#", "layer", "INT4"]
    focused = small.driver.switch_to.active_element
    assert small.js("return getComputedStyle(arguments[0]).outlineStyle", focused) == "solid"
    focused.send_keys(Keys.ENTER)
    assert names(small)[0] == "fc"
    focused.send_keys(Keys.SPACE)
    assert names(small)[0] == "conv2"
    assert small.driver.switch_to.active_element == focused
    focused.send_keys(Keys.ENTER)
    assert names(small) == NAMES


def test_the_filter(small: Browser) -> None:
    assert count(small) == "6 rows"
    for typed, expected in (
        ("conv", ["conv10", "conv2", "conv9", "Conv1"]),
        ("CONV1", ["conv10", "Conv1"]),
        ("conv slower", ["conv2", "Conv1"]),  # each word somewhere in the row
        ("channels", ["conv2"]),
        ("10 ms", ["conv10", "conv2", "add"]),  # 9.9 ms of conv10 has both
        (".*", []),
        ("<", []),
    ):
        find(small).clear()
        find(small).send_keys(typed)
        assert names(small) == expected, typed
        assert count(small) == f"{len(expected)} of 6 rows", typed
    find(small).clear()
    find(small).send_keys("a" + Keys.BACKSPACE)
    assert names(small) == NAMES
    assert count(small) == "6 rows"


def test_verdicts_can_be_chosen_and_combined_with_text_and_order(small: Browser) -> None:
    choice = Select(small.driver.find_element(By.CSS_SELECTOR, "#tools select"))
    assert [option.text for option in choice.options] == [
        "all", "faster (2)", "slower (2)", "not known (1)", "same (1)",
    ]  # fmt: skip
    choice.select_by_visible_text("slower (2)")
    assert names(small) == ["conv2", "Conv1"]
    button(small, "INT4").click()
    assert names(small) == ["Conv1", "conv2"]
    find(small).send_keys("launch")
    assert names(small) == ["Conv1"]
    assert count(small) == "1 of 6 rows"
    find(small).clear()
    find(small).send_keys("x" + Keys.BACKSPACE)
    choice.select_by_visible_text("all")
    assert names(small) == ["fc", "Conv1", "conv10", "conv2", "add", "conv9"]  # still sorted


def test_columns_keep_their_widths_while_filtering(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["whole"])
    widths = "return [...document.querySelectorAll('#all-layers thead th')].map(cell => Math.round(cell.offsetWidth))"
    before = browser.js(widths)
    find(browser).send_keys("fc")
    assert names(browser) == ["fc"]
    assert browser.js(widths) == before


def _figure(browser: Browser) -> dict[str, object]:
    """The one that is shown, its decoded size, and the colour in its middle."""
    return browser.js(
        """
        const shown = [...document.querySelectorAll("figure img")].filter(image => image.offsetWidth > 0);
        shown[0].scrollIntoView({block: "center"});
        const box = shown[0].getBoundingClientRect();
        return {count: shown.length, name: shown[0].className.split(" ")[0], natural: shown[0].naturalWidth,
                x: box.x + box.width / 2, y: box.y + box.height / 2};
        """
    )


def _look(browser: Browser) -> tuple[str, str, str]:
    """Which figure is shown, its colour as painted, and that of the page around it."""
    figure = _figure(browser)
    assert figure["count"] == 1
    assert figure["natural"] == 720
    return figure["name"], browser.pixel(figure["x"], figure["y"]), browser.pixel(3, 3)


BRIGHT = ("light", LIGHT_FIGURE, LIGHT.background)
GLOOM = ("dark", DARK_FIGURE, DARK.background)


def test_light_and_dark_follow_the_system(small: Browser) -> None:
    assert _look(small) == BRIGHT
    small.prefer("dark")
    assert _look(small) == GLOOM
    small.prefer("light")
    assert _look(small) == BRIGHT


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_by_hand(browser: Browser, pages: dict[str, Path], scheme: str) -> None:
    browser.open(pages["small"], scheme=scheme)
    for name, look in (("light", BRIGHT), ("dark", GLOOM), ("auto", BRIGHT if scheme == "light" else GLOOM)):
        browser.driver.find_element(By.ID, f"theme-{name}").click()
        assert _look(browser) == look, name
    browser.driver.find_element(By.ID, "theme-auto").send_keys(Keys.ARROW_RIGHT)
    assert _look(browser) == BRIGHT


def test_print_is_light_and_whole(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["long"], scheme="dark")
    browser.driver.find_element(By.ID, "theme-dark").click()
    browser.prefer("dark", media="print")
    assert browser.js("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    shown = browser.js(
        "return [...document.images].filter(image => image.offsetWidth > 0).map(image => image.classList[0])"
    )
    assert shown == ["light"] * 8
    assert not browser.driver.find_element(By.ID, "tools").is_displayed()
    box = browser.driver.find_element(By.CSS_SELECTOR, ".tall")
    assert box.size["height"] >= browser.driver.find_element(By.ID, "all-layers").size["height"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_contrast(browser: Browser, pages: dict[str, Path], scheme: str) -> None:
    """At least 4.5 to 1 against what is behind it (WCAG 2.2, 1.4.3 AA)."""
    browser.open(pages["whole"], scheme=scheme)
    found = browser.js(_COLOURS)
    browser.open(pages["small"], scheme=scheme)
    found += browser.js(_COLOURS)
    assert len(found) > 300
    poor = {(text, color, ground) for text, color, ground in found if _contrast(color, ground) < 4.5}
    assert not poor


_COLOURS = """
const found = [];
for (const element of document.body.querySelectorAll("*:not(script):not(option)")) {
  const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
  if (!own || element.getClientRects().length === 0) continue;
  let behind = element;
  while (getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
  found.push([element.textContent.trim().slice(0, 30), getComputedStyle(element).color,
              getComputedStyle(behind).backgroundColor]);
}
return found;
"""


def _contrast(one: str, other: str) -> float:
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _luminance(color: str) -> float:
    channels = [int(part) / 255 for part in re.fullmatch(r"rgb\((\d+), (\d+), (\d+)\)", color).groups()]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("width", [320, 360, 768, 1280])
@pytest.mark.parametrize("name", ["small", "whole", "hostile", "long"])
def test_the_page_is_never_wider_than_the_window(
    browser: Browser, pages: dict[str, Path], name: str, width: int
) -> None:
    browser.open(pages[name], width=width, height=740)
    window, own, inside = browser.js(
        "const root = document.documentElement; return [innerWidth, root.clientWidth, root.scrollWidth]"
    )
    assert window == width
    assert inside == own  # which the scroll bar leaves


def test_on_a_phone_wide_things_scroll_in_their_boxes(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["whole"], width=360, height=740)
    boxes = browser.js(
        "return [...document.querySelectorAll('figure .scroll, .tall')].map(box => [box.clientWidth, box.scrollWidth])"
    )
    assert len(boxes) == 9
    assert all(inside > 360 > own for own, inside in boxes)
    sizes = browser.js(
        "return [...document.querySelectorAll('p, li, td, th')].map(e => parseFloat(getComputedStyle(e).fontSize))"
    )
    assert min(sizes) >= 13


def test_on_a_phone_two_thirds_of_a_figure_are_in_sight(browser: Browser, pages: dict[str, Path]) -> None:
    """Its names alone take a third, so that marks are seen beside them; the rest is scrolled to."""
    browser.open(pages["whole"], width=375, height=740)
    boxes = browser.js(
        "return [...document.querySelectorAll('figure .scroll')].map(box => [box.clientWidth, box.scrollWidth])"
    )
    assert boxes
    assert all(2 / 3 < own / inside < 1 for own, inside in boxes)


def test_on_a_phone_fingers_find_room(browser: Browser, pages: dict[str, Path]) -> None:
    """44 pixels, as in WCAG 2.2, 2.5.5 (AAA), and not cut off."""
    browser.open(pages["whole"], width=360, height=740)
    small = browser.js(
        """
        return [...document.querySelectorAll("a, button, input, select")]
          .map(element => [element.outerHTML.slice(0, 60), element.getBoundingClientRect()])
          .filter(([_, box]) => box.height < 44 || box.width < 40).map(([name, box]) => [name, box.width, box.height]);
        """
    )
    assert small == []


def test_header_and_names_stay_while_the_table_scrolls(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["long"], width=768)
    before, after = (
        browser.js(
            """
            const box = document.querySelector(".tall");
            box.scrollTo(...arguments);
            const place = element => { const r = element.getBoundingClientRect(); return [r.x, r.y]; };
            const name = document.querySelector("#all-layers tbody th");
            const title = document.querySelectorAll("#all-layers thead th")[4];
            const moved = [box.scrollLeft, box.scrollTop];
            return {box: place(box), name: place(name)[0], title: place(title)[1], moved};
            """,
            *by,
        )
        for by in ((0, 0), (300, 900))
    )
    assert after["moved"] == [300, 900]
    assert after["title"] == before["title"]
    assert after["name"] == pytest.approx(after["box"][0], abs=2)


def test_hostile_names_are_text(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["hostile"])
    with pytest.raises(NoAlertPresentException):
        _ = browser.driver.switch_to.alert
    shown = names(browser)
    assert shown[:5] == list(examples.HOSTILE[:5])
    assert shown[9] == "a" * 200
    assert browser.driver.title == examples.HOSTILE[3]
    assert (
        browser.js("return document.querySelectorAll('main script, main h1 ~ h1, main img:not([class])').length") == 0
    )
    assert browser.js("return [...document.images].every(image => image.src.startsWith('data:image/svg'))")
    find(browser).send_keys("<script>")  # typing it is as harmless
    assert names(browser) == [examples.HOSTILE[0]]
    for title in ("layer", "INT4 is", "likely cause"):
        button(browser, title).click()
    assert browser.errors() == []


def test_without_javascript_everything_is_there(browser: Browser, pages: dict[str, Path]) -> None:
    browser.devtools("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(pages["small"])
        assert names(browser) == NAMES
        assert not browser.driver.find_elements(By.CSS_SELECTOR, "thead button")
        assert not browser.driver.find_element(By.ID, "tools").is_displayed()
        assert browser.driver.find_element(By.CSS_SELECTOR, ".doubts").is_displayed()
        assert _look(browser) == BRIGHT
        browser.driver.find_element(By.ID, "theme-dark").click()
        assert _look(browser) == GLOOM
    finally:
        browser.devtools("Emulation.setScriptExecutionDisabled", value=False)


def test_real_figures_are_painted(browser: Browser, tmp_path: Path) -> None:
    """matplotlib's SVG has a style sheet of its own, which the page's policy must not refuse."""
    report = examples.report_with_gaps()
    content = report.sections[0].figure
    figure = PageFigure(render(content, "svg", LIGHT), render(content, "svg", DARK))
    page = tmp_path / "real.html"
    page.write_text(page_html(report, {"speedup": figure}), encoding="utf-8")
    for scheme, theme in (("light", LIGHT), ("dark", DARK)):
        browser.open(page, scheme=scheme)
        shown = _figure(browser)
        assert shown["name"] == scheme
        assert shown["natural"] == 720
        (image,) = (i for i in browser.driver.find_elements(By.TAG_NAME, "img") if i.is_displayed())
        own, natural = browser.js(
            "const i = arguments[0]; return [i.width / i.height, i.naturalWidth / i.naturalHeight]", image
        )
        assert own == pytest.approx(natural, rel=0.01)
        colours = _colours_of(image)
        assert theme.background in colours
        assert {look.color for _, look in theme.verdicts} & colours
        assert browser.errors() == []


def _colours_of(image: WebElement) -> set[str]:
    painted = Image.open(io.BytesIO(image.screenshot_as_png)).convert("RGB")
    return {"#{:02x}{:02x}{:02x}".format(*color) for _, color in painted.getcolors(1 << 24)}
