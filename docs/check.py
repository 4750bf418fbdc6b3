"""What `tox -e docs` asks of the built site: `python docs/check.py docs/_build/html`.

Every link within it leads somewhere, nothing is fetched from elsewhere, formulas are formulas, no
page of the reference is long, and the search finds each page by the words that people look for.
"""

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sphinx.search.en import SearchEnglish

SEARCHES = {
    "EMA": "howto/average",
    "TensorBoard": "howto/callbacks",
    "Weights & Biases": "howto/callbacks",
    "another objective": "howto/objectives",
    "f-GAN": "theory/objectives",
    "least squares": "theory/objectives",
    "batch norm": "howto/normalisation",
    "collapse": "collapse",
    "conditional": "howto/labels",
    "Mirza and Osindero": "conditional",
    "vector of numbers": "howto/condition",
    "deep GSN": "systems/gsn",
    "deep belief network": "systems/dbn",
    "equilibrium": "equilibrium",
    "best response": "equilibrium",
    "monitor": "howto/monitor",
    "export": "howto/export",
    "few labels": "few-labels",
    "extragradient": "coordination",
    "GPU": "howto/devices",
    "hosts": "howto/devices",
    "inpainting": "howto/inpainting",
    "larger than memory": "howto/streaming",
    "load": "howto/export",
    "many seeds": "howto/many-runs",
    "notebook": "howto/notebook",
    "offline": "howto/offline",
    "own images": "tutorials/own-images",
    "own networks": "tutorials/own-networks",
    "own step": "tutorials/own-step",
    "inference": "inference",
    "latent explorer": "report",
    "report": "report",
    "semi-supervised": "few-labels",
    "rejection": "howto/rejection",
    "resume": "howto/resume",
    "change settings": "howto/resume",
    "stateful": "howto/normalisation",
    "sweep": "howto/many-runs",
}
# A page is found if it is among the first results.
FIRST = 5
# Of a reference page's article outside of code, in characters: about five screens.
LONGEST = 6_200


# What a page may load only from beside itself, and the attributes that say from where.
LOADED = {"script": "src", "img": "src", "link": "href", "source": "src", "iframe": "src"}


class Page(HTMLParser):
    """What a page links to, loads, offers as targets, and says outside of code."""

    def __init__(self, html):
        super().__init__()
        self.ids, self.links, self.loaded, self.text = set(), [], [], []
        self.without_alt = []
        self.code = self.article = 0
        self.length = 0
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids.update(filter(None, (given.get("id"), given.get("name"))))
        if tag in ("pre", "code", "script", "style"):
            self.code += 1
        self.article += tag == "article"
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag == "img" and not given.get("alt"):
            self.without_alt.append(given.get("src", ""))
        where = given.get(LOADED.get(tag, ""))
        if where and (tag != "link" or given.get("rel") in ("stylesheet", "icon", "preload")):
            self.loaded.append(where)

    def handle_endtag(self, tag):
        if tag in ("pre", "code", "script", "style"):
            self.code -= 1
        self.article -= tag == "article"

    def handle_data(self, data):
        if not self.code:
            self.text.append(data)
            self.length += len(data) if self.article else 0


def check_links(site, pages):
    for name, page in pages.items():
        for address in {*page.links, *page.loaded}:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                if address in page.loaded and parts.scheme != "data":
                    yield f"{name} fetches {address}"
                continue
            path = (site / name).parent / unquote(parts.path) if parts.path else site / name
            if not path.is_file():
                yield f"{name} links to {address}, which is not there"
                continue
            target = pages.get(path.resolve().relative_to(site).as_posix())
            anchor = unquote(parts.fragment)
            if anchor and target and anchor not in target.ids:
                yield f"{name} links to {address}, where nothing has that anchor"
    for style in site.rglob("*.css"):
        for address in re.findall(r"url\(['\"]?(https?:[^)'\"]+)", style.read_text("utf-8")):
            yield f"{style.name} fetches {address}"


def check_pages(pages):
    for name, page in pages.items():
        text = "".join(page.text)
        for raw in re.findall(r"\\(?:frac|log|sum|lVert|theta|sigma|begin|mathbb)\b|\$\$", text):
            yield f"{name} shows {raw} instead of a formula"
        for picture in page.without_alt:
            yield f"{name} has a picture without words for those who can't see it: {picture}"
        if name.startswith("api/") and page.length > LONGEST:
            yield f"{name} is {page.length:,} characters long; split it (at most {LONGEST:,})"


def results(index, query):
    """The pages that the site's search lists for a query, as its script does it, best first."""
    language = SearchEnglish({})
    words = [word for word in re.split(r"\W+", query.lower()) if word]
    stems = [language.stem(word) for word in words if word not in language.stopwords]
    scores = {}
    for stem in stems:
        here = {}
        for kind, score in (("terms", 5), ("titleterms", 15)):
            found = index[kind].get(stem, [])
            for number in found if isinstance(found, list) else [found]:
                here[number] = max(score, here.get(number, 0))
        for number, score in here.items():
            scores.setdefault(number, []).append(score)
    complete = {n: sum(found) for n, found in scores.items() if len(found) == len(stems)}
    names = index["docnames"]
    order = sorted(complete, key=lambda n: (-complete[n], names[n].startswith("api/"), names[n]))
    return [names[n] for n in order]


def check_search(site):
    text = (site / "searchindex.js").read_text("utf-8")
    index = json.loads(text.removeprefix("Search.setIndex(").removesuffix(")"))
    for query, expected in SEARCHES.items():
        found = results(index, query)
        if expected not in found[:FIRST]:
            yield f"a search for {query!r} does not begin with {expected}: {found[:FIRST]}"


def main(folder):
    site = Path(folder).resolve()
    pages = {
        path.relative_to(site).as_posix(): Page(path.read_text("utf-8"))
        for path in sorted(site.rglob("*.html"))
    }
    wrong = [*check_links(site, pages), *check_pages(pages), *check_search(site)]
    for line in wrong:
        print(line)
    print(f"{len(pages)} pages, {len(SEARCHES)} searches: {len(wrong) or 'nothing'} wrong")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
