"""Check a built site: ``python docs/check_site.py site``. Exit code 1 names what is wrong.

Every page of the navigation is there; links and pictures lead somewhere, anchors included; nothing is asked of another
server; the search's index has every page. With Playwright and a Chromium, the search is tried, too, without a network.
"""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from posixpath import dirname, join, normpath
from shutil import which
from urllib.parse import unquote, urlsplit

sys.path.insert(0, str(Path(__file__).parent))

from making.site import navigation

ASSETS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src"}
LINKED = ("stylesheet", "icon", "preload", "preconnect", "dns-prefetch", "modulepreload", "manifest")
INDEXES = ("search.json", "search/search_index.json")
"""The search's index: Zensical's, and that of Material for MkDocs."""
_OF_STYLES = re.compile(r"""(?:url\(|@import\s)\s*["']?((?:https?:)?//[^\s"')]+)""")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class Page(HTMLParser):
    """The anchors, links and assets of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.assets: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element's anchor, link or asset."""
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag in ASSETS and ASSETS[tag] in values:
            self.assets.append(values[ASSETS[tag]])
        if tag == "link" and set(values.get("rel", "").split()) & set(LINKED):
            self.assets.append(values.get("href", ""))


def faults(site: Path) -> Iterator[str]:
    """Yield what is wrong with a built site."""
    files = {path.relative_to(site).as_posix(): path for path in site.rglob("*") if path.is_file()}
    pages = {name: Page(path.read_text(encoding="utf-8")) for name, path in files.items() if name.endswith(".html")}
    for page in navigation():
        if page.removesuffix(".md") + ".html" not in pages:
            yield f"{page}: the navigation lists it, and it was not built"
    for name, page in pages.items():
        for asset in page.assets:
            if urlsplit(asset).netloc:
                yield f"{name}: asks another server for {asset}"
        if name == "404.html":
            continue  # its links begin with the site's address
        for target in (*page.links, *page.assets):
            yield from _dead(name, target, files, pages)
    for name, path in files.items():
        if name.endswith(".css"):
            for asset in _OF_STYLES.findall(path.read_text(encoding="utf-8")):
                yield f"{name}: asks another server for {asset}"
    yield from _not_found(site, pages)


def _dead(name: str, target: str, files: dict[str, Path], pages: dict[str, Page]) -> Iterator[str]:
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        return
    found = normpath(join(dirname(name), unquote(parts.path))) if parts.path else name
    found = found if found in files else normpath(f"{found}/index.html")
    if found not in files:
        yield f"{name}: {target} leads nowhere"
    elif parts.fragment and found in pages and unquote(parts.fragment) not in pages[found].anchors:
        yield f"{name}: {target}: no such place on that page"


def _not_found(site: Path, pages: dict[str, Page]) -> Iterator[str]:
    index = next((site / name for name in INDEXES if (site / name).is_file()), None)
    if index is None:
        yield "there is no index for the search"
        return
    content = json.loads(index.read_text(encoding="utf-8"))
    entries = content.get("docs") or content.get("items") or []
    places = {entry.get("location", entry.get("path", "")).partition("#")[0] for entry in entries}
    places = {place.removeprefix("/") or "index.html" for place in places}
    yield from (f"{name}: the search does not know it" for name in sorted(set(pages) - places - {"404.html"}))


def search(site: Path, words: str, browser: str) -> tuple[list[str], list[str]]:
    """Return what the search of a site finds, and what the page asked other servers for; there is no network."""
    from playwright.sync_api import sync_playwright

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        home = f"http://127.0.0.1:{server.server_address[1]}/"
        asked: list[str] = []
        with sync_playwright() as playwright:
            chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
            page = chromium.new_page()
            page.on("request", lambda request: asked.append(request.url))
            page.route(lambda url: not url.startswith(home), lambda route: route.abort())
            page.goto(f"{home}index.html")
            page.keyboard.press("/")
            page.keyboard.type(words, delay=30)
            found = page.locator("a[href*='itk_resample']:visible, a[href*='resampling']:visible")
            found.first.wait_for(timeout=20_000)
            results = [link.get_attribute("href") or "" for link in found.all()]
            chromium.close()
        server.shutdown()
    return results, [url for url in asked if not url.startswith((home, "data:", "blob:"))]


def main(site: Path) -> int:
    """Check a site, and return the exit code."""
    found = [*faults(site)]
    browser = next(filter(None, map(which, BROWSERS)), None)
    try:
        import playwright  # noqa: F401 - only whether it is there
    except ImportError:
        browser = None
    if browser is None:
        print("the search was not tried: it takes Playwright, and Chromium or Chrome")
    else:
        results, asked = search(site, "resample spacing", browser)
        found += [f"index.html: asked {url}" for url in asked]
        found += [] if results else ["the search finds nothing for 'resample spacing'"]
    for fault in found:
        print(fault)
    print(f"{site}: {len(found)} faults" if found else f"{site}: no fault")
    return 1 if found else 0


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        raise SystemExit("usage: python docs/check_site.py FOLDER, that of a built site")
    raise SystemExit(main(Path(sys.argv[1])))
