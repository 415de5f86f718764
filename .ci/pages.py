"""A hook of mkdocs: files outside docs/ that the documentation links to become pages of the site.

A link in docs/ names a file of the repository, as GitHub follows it: `../bench/results/remat.md`.
On the site, docs/ is the root and every other file keeps its path below it. So

    docs/peak.md              ->  peak.md
    bench/results/remat.md    ->  bench/results/remat.md       (a page)
    solvers/remat/cover.py    ->  solvers/remat/cover.py.md    (a page that shows the source)
    bench/results/growth.svg  ->  bench/results/growth.svg     (copied)
    README.md                 ->  readme.md                    (index.md is the home page)

and links are rewritten from the one to the other. What is linked is found from the pages of docs/
on, through the pages that come in. A link to a folder, or to nothing, is an error.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, InclusionLevel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
# In the navigation, whether linked or not.
_ALWAYS = ("bench/README.md", "solvers/README.md", "CHANGELOG.md", "CONTRIBUTING.md")
_LANGUAGES = {
    ".cpp": "cpp",
    ".hpp": "cpp",
    ".py": "python",
    ".sh": "bash",
    ".toml": "toml",
    ".yaml": "yaml",
    ".yml": "yaml",
}
_FENCE = re.compile(r" *(```+|~~~+)")
_LINK = re.compile(r"(`+).*?\1|(?P<open>\]\()(?P<target>[^)\s]+)(?P<title>[^)]*\))")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files outside docs/ that pages link to."""
    pending = list(_ALWAYS)
    for file in list(files.documentation_pages()):
        pending += [path for path, _ in links(file.content_string, f"docs/{file.src_uri}")]
    seen: set[str] = set()
    while pending:
        path = pending.pop()
        if path in seen or path.startswith("docs/"):
            continue
        seen.add(path)
        source = ROOT / path
        if not source.is_file():
            raise PluginError(f"a page links to {path}, which is not a file of the repository")
        uri, language = uri_of(path), _LANGUAGES.get(source.suffix)
        hidden = InclusionLevel.NOT_IN_NAV
        if language is not None:
            content = shown(path, source.read_text(encoding="utf-8"), language)
            file = File.generated(config, uri, content=content, inclusion=hidden)
        else:
            file = File.generated(config, uri, abs_src_path=str(source), inclusion=hidden)
        same = next((each for each in files if each.dest_uri == file.dest_uri), None)
        if same is not None:
            raise PluginError(f"{path} and {same.src_uri} would be the same page")
        files.append(file)
        if source.suffix == ".md":
            pending += [path for path, _ in links(source.read_text(encoding="utf-8"), path)]
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite the links of a page from the repository's paths to the site's."""
    del config, files
    file = page.file
    path = file.src_uri if file.generated_by else f"docs/{file.src_uri}"
    return rewritten(markdown, "README.md" if path == "readme.md" else path)


def uri_of(path: str) -> str:
    """Where a file of the repository is on the site."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path == "README.md":
        return "readme.md"  # or it would be index.html, which docs/index.md is
    return f"{path}.md" if Path(path).suffix in _LANGUAGES else path


def shown(path: str, text: str, language: str) -> str:
    """A page with a source file."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    head = f"---\nsearch:\n  exclude: true\n---\n\n# {path}\n"
    return f"{head}\n{fence}{language}\n{text.rstrip()}\n{fence}\n"


def links(markdown: str, path: str) -> Iterator[tuple[str, str]]:
    """The files that a page of that path links to, as paths in the repository, and the anchors."""
    found: list[tuple[str, str]] = []

    def note(target: str, anchor: str) -> str:
        found.append((target, anchor))
        return ""

    _each_link(markdown, path, note)
    return iter(found)


def rewritten(markdown: str, path: str) -> str:
    """A page of that path, with the links of the site."""
    folder = posixpath.dirname(uri_of(path))

    def on_site(target: str, anchor: str) -> str:
        return posixpath.relpath(uri_of(target), folder or ".") + anchor

    return _each_link(markdown, path, on_site)


def _each_link(markdown: str, path: str, change: Callable[[str, str], str]) -> str:
    """Give each relative link to a file to `change`; code is left as it is."""
    folder = posixpath.dirname(path)

    def replace(match: re.Match[str]) -> str:
        target = match["target"]
        if target is None or target.startswith("#") or _SCHEME.match(target):
            return match[0]
        name, hash_sign, anchor = target.partition("#")
        found = posixpath.normpath(posixpath.join(folder, name))
        return f"{match['open']}{change(found, hash_sign + anchor)}{match['title']}"

    lines: list[str] = []
    fence = ""
    for line in markdown.split("\n"):
        mark = _FENCE.match(line)
        if mark is not None and (not fence or (line.strip() == mark[1] and mark[1] >= fence)):
            fence = "" if fence else mark[1]
        lines.append(line if fence or mark is not None else _LINK.sub(replace, line))
    return "\n".join(lines)
