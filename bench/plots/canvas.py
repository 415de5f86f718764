"""An SVG with the book's look: light and dark, text that is text, a title and a description."""

from __future__ import annotations

from html import escape

__all__ = ["SERIES", "Canvas", "number"]

SERIES = 4  # colours, the classes s0 to s3

_STYLE = """\
text{font:12px system-ui,-apple-system,"Segoe UI",sans-serif;fill:#57606a}
.bg{fill:#fff}.head{font-size:14px;font-weight:600;fill:#1f2328}.name{fill:#1f2328}
.grid{stroke:#d8dee4}.axis{stroke:#8c959f}.link{stroke:#afb8c1;stroke-width:2}
.s0{fill:#1f6f8b;stroke:#1f6f8b}.s1{fill:#c4553b;stroke:#c4553b}
.s2{fill:#7a5ea8;stroke:#7a5ea8}.s3{fill:#8a6d1b;stroke:#8a6d1b}
.line{fill:none;stroke-width:2}.dot{stroke:none;fill-opacity:.55}.mean{stroke-width:3}
.solid{stroke:none}.ring{fill:#fff;stroke-width:2}
@media(prefers-color-scheme:dark){
text{fill:#9198a1}.bg{fill:#0d1117}.head,.name{fill:#e6edf3}
.grid{stroke:#30363d}.axis{stroke:#656d76}.link{stroke:#484f58}
.s0{fill:#58b4d1;stroke:#58b4d1}.s1{fill:#f0826a;stroke:#f0826a}
.s2{fill:#b79aea;stroke:#b79aea}.s3{fill:#d4a72c;stroke:#d4a72c}
.line{fill:none}.dot{stroke:none}.solid{stroke:none}.ring{fill:#0d1117}}"""


class Canvas:
    """Parts of a picture, in the order in which they are drawn."""

    def __init__(self, width: int, height: int, title: str, description: str) -> None:
        self._head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" role="img" aria-labelledby="t d">'
            f'<title id="t">{escape(title)}</title><desc id="d">{escape(description)}</desc>'
        )
        self._parts = [f'<rect class="bg" width="{width}" height="{height}"/>']

    def text(self, x: float, y: float, text: str, *, anchor: str = "start", kind: str = "") -> None:
        """A line of text; `anchor` is start, middle or end."""
        named = f' class="{kind}"' if kind else ""
        self._parts.append(
            f'<text x="{number(x)}" y="{number(y)}" text-anchor="{anchor}"{named}>'
            f"{escape(text)}</text>"
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        """A straight line."""
        self._parts.append(
            f'<line class="{kind}" x1="{number(x1)}" y1="{number(y1)}" '
            f'x2="{number(x2)}" y2="{number(y2)}"/>'
        )

    def path(self, points: list[tuple[float, float]], kind: str) -> None:
        """Points joined by straight lines."""
        told = " ".join(f"{number(x)},{number(y)}" for x, y in points)
        self._parts.append(f'<polyline class="{kind} line" points="{told}"/>')

    def dot(self, x: float, y: float, kind: str, hint: str = "", radius: float = 4) -> None:
        """A disc, with what a pointer on it is told."""
        tip = f"<title>{escape(hint)}</title>" if hint else ""
        place = f'cx="{number(x)}" cy="{number(y)}" r="{radius:g}"'
        self._parts.append(f'<circle class="{kind}" {place}>{tip}</circle>')

    def legend(self, x: float, y: float, names: list[tuple[str, str]]) -> None:
        """Names with the discs of their kinds, in a row."""
        for name, kind in names:
            self.dot(x + 5, y - 4, kind)
            self.text(x + 15, y, name)
            x += 30 + 6.6 * len(name)

    def __str__(self) -> str:
        return "\n".join([self._head, f"<style>{_STYLE}</style>", *self._parts, "</svg>", ""])


def number(value: float) -> str:
    """With one digit after the point where it is needed."""
    return f"{value:.1f}".removesuffix(".0")
