"""Every figure of the documentation is that of a committed result."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from lowtide.bench.book.claim import Claim, Definition, at_most, holds
from lowtide.bench.book.claims import CLAIMS
from lowtide.bench.book.command import MADE, main, pages, problems, rendered
from lowtide.bench.book.definitions import DEFINITIONS
from lowtide.bench.book.page import blocks, numbers
from lowtide.bench.book.results import RESULTS, ROOT, BookError, Record, load
from lowtide.bench.book.tables import TABLES

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = pages()


def test_pages_say_what_the_results_say(capsys: pytest.CaptureFixture[str]) -> None:
    """To repair: `python -m lowtide.bench.book`, and edit the sentences that it names."""
    status = main(["--check"])
    assert (status, capsys.readouterr().err) == (0, "")


def _changed(text: str, at: int) -> str:
    """The page with another digit there, or another word."""
    if not text[at].isdigit():
        return f"{text[:at]}ten times {text[at:]}"
    return f"{text[:at]}{(int(text[at]) + 1) % 10}{text[at + 1 :]}"


@pytest.mark.parametrize("page", [page for page in TEXTS if page not in MADE])
def test_every_changed_number_is_noticed(page: str) -> None:
    """Whichever number outside code is changed, and whichever digit of a table."""
    text = TEXTS[page]
    claims = [claim for claim in CLAIMS if claim.page == page]
    defined = [each for each in DEFINITIONS if each.page == page]
    for number in numbers(text):
        digits = re.findall(r"\d", number.text)
        digit = number.begin + (number.text.rindex(digits[-1]) if digits else 0)
        texts = {page: _changed(text, digit)}
        found = [each for each in problems(texts, claims, defined) if each.startswith(page)]
        assert found, f"{number.text} in line {text.count(chr(10), 0, digit) + 1}"
    if any(name in TABLES for name, _, _ in blocks(text)):
        _, begin, end = next(each for each in blocks(text) if each[0] in TABLES)
        digit = begin + re.search(r"\d", text[begin:end]).start()  # type: ignore[union-attr]
        assert rendered({page: _changed(text, digit)})[page] == text


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: f"{claim.page}: {claim.says[:30]}")
def test_claims_compute_all_their_numbers(claim: Claim) -> None:
    fields = re.findall(r"\{[^}]*\}", claim.says)
    assert fields
    assert not numbers(re.sub(r"\{[^}]*\}", "N", claim.says))
    assert "{" not in claim.text()


def test_results_that_are_named_exist() -> None:
    """And nothing but the files of the repository is read."""
    sources = {claim.source for claim in CLAIMS}
    sources |= {source for table in TABLES.values() for source in table.sources}
    assert all((ROOT / RESULTS / source).is_file() for source in sources)


def test_a_table_is_written_and_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for page, text in TEXTS.items():
        path = tmp_path / page
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("**119,808**", "**119,809**"))
    assert main(["--check", "--root", str(tmp_path)]) == 1
    difference = capsys.readouterr().err
    assert "-| RandWire, 96x96, seed 0 | 224 | 230,400 | **119,809** |" in difference
    assert "+| RandWire, 96x96, seed 0 | 224 | 230,400 | **119,808** |" in difference
    assert main(["--root", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "README.md: written\n"
    assert (tmp_path / "README.md").read_text() == TEXTS["README.md"]
    (tmp_path / "README.md").unlink()
    with pytest.raises(BookError, match="no such page; run this in a checkout"):
        main(["--root", str(tmp_path)])


def _list(words: str) -> list[str]:
    return words.split()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("needs 5.74 MiB, 1,234 bytes and 12 % in 3e-7 s", ["5.74", "1,234", "12", "3e-7"]),
        ("1.38x of 7 of 9, 64-bit, 15KB, (4), -0.5 and 2.", _list("1.38x 7 9 64 15KB 4 0.5 2")),
        ("`12` and\n\n    indented 13\n\n```bash\n14\n```\n\n[a](b/15.md) <!-- 16 -->", []),
        ("int8, float16, MobileNetV2, 96x96, ResNet-50, v1.2 and x2", []),
        ("10k ops, a 3D one, 4GB/s, 1.5%, ~6, 7/8", ["10k", "3D", "4GB", "1.5%", "6", "7", "8"]),
        ("Seven of the nine, one or two, a fourth, tend, 5 s", ["Seven", "nine", "5"]),
        ("1. an item of 3\n2. another", ["3"]),
        ("::: lowtide\n    options: 3\n\n## 1. A section\n\n<code>A&#124;2</code> &#124;", []),
        ("| a | 17 |\n|---|---:|\n| 18 | `19` |", ["17", "18"]),
        ("<!-- table: edge -->\n\n| 20 |\n\n<!-- end -->\n21", ["21"]),
    ],
)
def test_numbers(text: str, expected: list[str]) -> None:
    found = numbers(text)
    assert [number.text for number in found] == expected
    assert [text[number.begin : number.end] for number in found] == expected


def test_what_is_no_claim() -> None:
    claim = Claim("page.md", "arenas of {:,} bytes", "edge.json", lambda _: [1024])
    defined = Definition("page.md", "at 8 bytes", "alignment")
    table = "".join(f"<!-- table: {name} -->\n\n<!-- end -->\n" for name in TABLES)

    def of(text: str) -> list[str]:
        return problems({"page.md": table + text}, [claim], [defined])

    assert of("arenas of\n1,024 bytes at 8 bytes") == []
    (wrong, nowhere) = of("arenas of 1,025 bytes at 8 bytes")
    assert "`arenas of 1,024 bytes` is there 0 times" in wrong
    assert "`1,025` comes from nowhere" in nowhere
    (twice, *_) = of("arenas of 1,024 bytes, arenas of 1,024 bytes at 8 bytes")
    assert "is there 2 times" in twice
    (unused,) = of("arenas of 1,024 bytes `at 8 bytes`")
    assert "`at 8 bytes` has no number to explain" in unused
    (none,) = problems({"page.md": table}, [], [Definition("other.md", "9", "")])
    assert "other.md: no such page" in none
    assert problems({"page.md": ""}, [], [])[0] == f"table `{next(iter(TABLES))}` is on no page"

    def untrue(_: Record) -> list[int]:
        holds(False, "all are proven")
        return []

    (told,) = problems({"page.md": table}, [Claim("page.md", "all", "edge.json", untrue)], [])
    assert "the results do not say: all are proven" in told


def test_blocks_have_two_markers() -> None:
    with pytest.raises(BookError, match="each `table` needs its `end`"):
        list(blocks("<!-- table: edge -->\n\nno end\n"))
    with pytest.raises(BookError, match="there is no table `none`"):
        rendered({"page.md": "<!-- table: none -->\n\n<!-- end -->\n"})


def test_records(tmp_path: Path) -> None:
    record = Record(
        "a.json", {"a": {"b": 1, "c": 0.5, "d": [1, 2]}, "rows": [{"n": "x"}], "f": True}
    )
    assert record.whole("a", "b") == 1
    assert record.number("a", "c") == 0.5
    assert record.numbers("a", "d") == (1, 2)
    assert record.one("rows", n="x").text("n") == "x"
    assert record.flag("f")
    for read, reason in (
        (lambda: record.number("f"), "`f` is True, not a number"),
        (lambda: record.whole("a", "c"), "`a.c` is 0.5, not an integer"),
        (lambda: record.get("a", "z"), "a.json a: there is no `z`"),
        (lambda: record.get("f", "z"), "`f` is True, not an object"),
        (lambda: record.one("rows", n="y"), "0 of rows are of {'n': 'y'}, not 1"),
        (lambda: record.text("a"), "not text"),
        (lambda: record.flag("a"), "neither true nor false"),
        (lambda: record.record("rows"), "not an object"),
        (lambda: record.records("a"), "not a list"),
        (lambda: load("none.json"), "no committed result"),
    ):
        with pytest.raises(BookError, match=re.escape(reason)):
            read()
    (tmp_path / RESULTS).mkdir(parents=True)
    (tmp_path / RESULTS / "list.json").write_text("[]")
    with pytest.raises(BookError, match=r"no committed result.*an object is expected"):
        load("list.json", tmp_path)


def test_limits_are_rounded_up() -> None:
    assert [at_most(1.319), at_most(286, -1), at_most(0.44, 1)] == [2, 290, 0.5]
