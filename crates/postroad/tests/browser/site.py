"""The static site in a real browser: headless Chromium, driven over WebDriver with nothing but the
standard library.

    python3 crates/postroad/tests/browser/site.py --postroad target/debug/postroad

Needs chromium and chromedriver (Debian: chromium, chromium-driver). Asserts what a reader on a phone
sees: nothing wider than the screen, text large enough, search, comparison and languages that lead
where they say, no error in the console, nothing loaded from elsewhere.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import urllib.request

LANGUAGES = ["en", "de", "es", "fr", "pt"]
PAGES = [
    "index.html", "354.html", "421.html", "441.html", "550.html", "552.html", "x.7.26.html", "x.1.10.html",
    "5.7.501-503.html", "compare/354-550.html", "compare/354-503.html", "compare/450-451.html",
    "compare/101-591.html", "compare/5.7.1-5.7.26.html",
]


class Browser:
    """One session of the browser, with the size of a phone."""

    def __init__(self):
        self.driver = subprocess.Popen(
            ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.base = None
        for line in self.driver.stdout:
            found = re.search(r"started successfully on port (\d+)", line)
            if found:
                self.base = f"http://127.0.0.1:{found.group(1)}"
                break
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        options = {
            "args": arguments,
            "mobileEmulation": {"deviceMetrics": {"width": 360, "height": 740, "pixelRatio": 2.0}},
        }
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        answer = self.ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.session = "/session/" + answer["sessionId"]

    def ask(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def go(self, path):
        self.ask("POST", self.session + "/url", {"url": path.as_uri()})

    def run(self, script, *arguments):
        return self.ask("POST", self.session + "/execute/sync", {"script": script, "args": list(arguments)})

    def console(self):
        lines = self.ask("POST", self.session + "/se/log", {"type": "browser"})
        return [line["message"] for line in lines if line["level"] in ("SEVERE", "WARNING")]

    def close(self):
        try:
            self.ask("DELETE", self.session)
        finally:
            self.driver.terminate()
            self.driver.wait(timeout=30)


LOOK = """
const wide = [...document.querySelectorAll('main *, header *, footer *')].filter((one) => {
  if (one.closest('.wide, pre, .skip, details:not([open]) > :not(summary)')) return false;
  const box = one.getBoundingClientRect();
  return box.width > 0 && (box.right > 361 || box.left < -1);
});
return {
  width: 360,
  scroll: document.documentElement.scrollWidth,
  wide: wide.slice(0, 5).map((one) => one.outerHTML.slice(0, 120)),
  font: parseFloat(getComputedStyle(document.querySelector('main p')).fontSize),
  language: document.documentElement.lang,
  headings: document.querySelectorAll('h1').length,
  foreign: performance.getEntriesByType('resource').map((one) => one.name).filter((name) => !name.startsWith('file:')),
};
"""

SEARCH = """
const input = document.getElementById('q');
input.value = arguments[0];
input.dispatchEvent(new Event('input', {bubbles: true}));
const results = document.getElementById('results');
return {hidden: results.hidden, links: [...results.querySelectorAll('a')].map((link) => [link.textContent, link.href])};
"""


def check(browser, site, failures):
    def fail(place, what):
        failures.append(f"{place}: {what}")

    for language in LANGUAGES:
        for page in PAGES:
            place = f"{language}/{page}"
            browser.go(site / language / page)
            seen = browser.run(LOOK)
            if seen["scroll"] > seen["width"] or seen["wide"]:
                fail(place, f"wider than the screen: {seen['scroll']} > {seen['width']}, {seen['wide']}")
            if seen["font"] < 15:
                fail(place, f"text of {seen['font']} px is too small")
            if seen["language"] != language or seen["headings"] != 1:
                fail(place, f"language {seen['language']}, {seen['headings']} headings")
            if seen["foreign"]:
                fail(place, f"loads from elsewhere: {seen['foreign']}")
            for message in browser.console():
                fail(place, f"console: {message}")

    for language in LANGUAGES:
        for start in ("index.html", "compare/354-550.html"):
            browser.go(site / language / start)
            for query, wanted in [
                ("354", f"{language}/354.html"),
                ("550 5.1.1 <bob@example.org> user unknown", f"{language}/x.1.1.html"),
                ("5.7.502", f"{language}/5.7.501-503.html"),
                ("503 354", f"{language}/compare/354-503.html"),
                ("552 5.2.2 vs 552 5.3.4", f"{language}/compare/5.2.2-5.3.4.html"),
            ]:
                found = browser.run(SEARCH, query)
                if found["hidden"] or not found["links"] or not found["links"][0][1].endswith("/" + wanted):
                    fail(f"{language}/{start}", f"search {query!r} does not lead to {wanted} first: {found['links'][:3]}")
            found = browser.run(SEARCH, "zzzzzz")
            if found["hidden"] or found["links"]:
                fail(f"{language}/{start}", "a search without result does not say so")
        words = {"en": "mailbox full", "de": "postfach", "es": "buzon", "fr": "boite", "pt": "caixa"}[language]
        if not browser.run(SEARCH, words)["links"]:
            fail(language, f"search {words!r} finds nothing")
        browser.go(site / language / "index.html")
        browser.run("""
            const form = document.getElementById('compare');
            form.elements.namedItem('a').value = '550';
            form.elements.namedItem('b').value = '354';
            form.requestSubmit();
        """)
        address = browser.ask("GET", browser.session + "/url")
        if not address.endswith(f"/{language}/compare/354-550.html"):
            fail(language, f"the comparison of 550 and 354 leads to {address}")

    browser.go(site / "de" / "354.html")
    browser.run("document.querySelector('nav a[hreflang=fr]').click()")
    address = browser.ask("GET", browser.session + "/url")
    if not address.endswith("/fr/354.html"):
        fail("de/354.html", f"French leads to {address}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--postroad", required=True, type=pathlib.Path)
    parser.add_argument("--screenshots", type=pathlib.Path, help="a folder for pictures of some pages")
    args = parser.parse_args()
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        site = pathlib.Path(folder) / "site"
        subprocess.run([args.postroad, "reference", "--site", site], check=True)
        browser = Browser()
        try:
            check(browser, site, failures)
            if args.screenshots:
                import base64
                args.screenshots.mkdir(parents=True, exist_ok=True)
                for place in ("en/index.html", "de/354.html", "fr/compare/354-550.html"):
                    browser.go(site / place)
                    picture = browser.ask("GET", browser.session + "/screenshot")
                    name = place.replace("/", "-").replace(".html", ".png")
                    (args.screenshots / name).write_bytes(base64.b64decode(picture))
        finally:
            browser.close()
    for failure in failures:
        print(failure)
    print(f"{len(LANGUAGES) * len(PAGES)} pages looked at, {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
