"""MkDocs: pages may link to any file of the checkout, and three of its files are pages.

The links in docs/*.md are relative, so that they work wherever the repository is browsed. A file
outside of docs/ that a page links to is copied into the site, below files/; a folder outside of
docs/ is named only. PAGES become pages.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

CHECKOUT = Path(__file__).resolve().parents[1]
PAGES = {
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
    "changelog.md": "CHANGELOG.md",
}
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages whose text lies outside of docs/."""
    for page, source in PAGES.items():
        text = (CHECKOUT / source).read_text()
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite links to files outside of docs/, and copy these into the site."""
    source = PAGES.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def rewrite(link: re.Match[str]) -> str:
        mark, text, target = link.groups()
        if "://" in target or target.startswith(("#", "mailto:")):
            return link[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target.split("#")[0]))
        if path.startswith("docs/"):
            anchor = target.partition("#")[2]
            return f"{mark}[{text}]({path.removeprefix('docs/')}{anchor and '#' + anchor})"
        for name, original in PAGES.items():
            if path == original:
                return f"[{text}]({name})"
        file = CHECKOUT / path
        if not file.is_file():
            if not file.is_dir():
                raise FileNotFoundError(f"{source}: there is no {target}")
            return text
        uri = f"files/{path}" if not path.endswith(".md") else f"files/{path}.txt"
        if files.get_file_from_path(uri) is None:
            files.append(File.generated(config, uri, content=file.read_bytes()))
        return f"{mark}[{text}]({uri})"

    return _LINK.sub(rewrite, markdown)
