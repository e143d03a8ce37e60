"""Pages that need no network: notebooks as HTML, with MathJax beside them."""

import re
import shutil
from pathlib import Path

import jupyter_server_mathjax
from jinja2 import DictLoader
from nbconvert import HTMLExporter

# nbconvert's page without what it would fetch (require.js, Mermaid), with the alt texts it forgets,
# and with the one font that the bundled MathJax carries: it would ask for others too, for an empty
# one and for the MathML that it hides for screen readers.
TEMPLATE = """{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}<link rel="icon" href="data:,">{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}
<script type="text/x-mathjax-config">
var nowhere = {src: "local('none')"};
MathJax.Hub.Config({
  "HTML-CSS": {availableFonts: [], preferredFont: null, imageFont: null, webFont: "STIX-Web",
    styles: {"@font-face": nowhere}},
  NativeMML: {styles: Object.fromEntries(
    [1, 2, 3, 4, 5, 6].map(k => ["@font-face /*" + k + "*/", nowhere]))},
  showMathMenu: false
});
</script>
{{ super() }}
{%- endblock -%}
{%- block body_header -%}
{{ super() }}
{{ resources.navigation }}
{%- endblock -%}
{%- block data_png scoped -%}
{%- set alt = output | get_metadata('alt', 'image/png') or '' -%}
{%- set alt = alt | escape_html_keep_quotes | replace('"', '&quot;') -%}
{{ super() | replace('<img', '<img alt="' ~ alt ~ '"') }}
{%- endblock -%}
"""
MATHJAX = "mathjax/MathJax.js?config=TeX-AMS-MML_HTMLorMML-full,Safe"
FETCHED = re.compile(
    r"""<(?:script|link|img|iframe|source)\b[^>]*\s(?:src|href)\s*=\s*["']?(?:https?:)?//[^"'>]*"""
    r"""|(?:\bimport\(?|@import|url\()\s*["']?https?://[^"')]*""",
    re.IGNORECASE,
)
LINK = re.compile(r'''(?<=<a )href="([^":#]+)(#[^"]*)?"''')


def fetched_addresses(page: str) -> list[str]:
    """Return what a browser would fetch to show the page; plain links do not count."""
    return FETCHED.findall(page)


def to_html(nb, title: str, navigation: str = "") -> str:
    """Return the notebook as a page that loads nothing but MathJax, from the folder beside it.

    The HTML of `navigation` stands above it.
    """
    exporter = HTMLExporter(
        template_file="offline.html.j2",
        extra_loaders=[DictLoader({"offline.html.j2": TEMPLATE})],
        mathjax_url=MATHJAX,
        sanitize_html=False,
    )
    resources = {"metadata": {"name": title}, "navigation": navigation}
    return exporter.from_notebook_node(nb, resources)[0]


def linked(page: str, names: set[str]) -> str:
    """Return the page with its links to notebooks leading to their pages.

    `names` are the stems of the pages, which lie in one folder. A link to any other file keeps its
    text only: that file does not stand beside the pages.
    """

    def new(match):
        stem = Path(match[1]).stem
        return (
            f'href="{stem}.html{match[2] or ""}"'
            if stem in names
            else 'title="not among these pages"'
        )

    return LINK.sub(new, page)


def add_mathjax(folder: Path) -> None:
    """Put the MathJax that the pages ask for into their folder."""
    static = Path(jupyter_server_mathjax.__file__).parent / "static"
    shutil.copytree(static, folder / "mathjax", dirs_exist_ok=True)
