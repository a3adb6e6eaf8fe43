"""`make pages` knows every generated page, and each page names the command that writes it."""

import re
from pathlib import Path

import pytest
from docs import pages

ROOT = Path(__file__).resolve().parents[2]
FILES = {file: page for page in pages.PAGES for file in page.files}
SCRIPT = "import sys; open('page.md', 'w').write(sys.argv[1]); sys.exit(len(sys.argv) - 2)"
MARK = re.compile(r"(?:Written|Generated)[^`\n]*`python -m ([\w. -]+)`")


def test_no_page_is_listed_twice_and_all_are_there():
    assert len(FILES) == sum(len(page.files) for page in pages.PAGES)
    assert [file for file in FILES if not (ROOT / file).exists()] == []


def test_every_file_of_the_generated_folder_is_listed():
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs" / "generated").iterdir()} <= FILES.keys()


@pytest.mark.parametrize("path", sorted([*ROOT.glob("docs/**/*.md"), *ROOT.glob("spec/*.md")]), ids=lambda p: p.name)
def test_a_page_that_names_its_command_is_listed_with_it(path):
    if found := MARK.search(path.read_text()):
        assert FILES[path.relative_to(ROOT).as_posix()].command == found[1]


@pytest.fixture
def house(tmp_path, monkeypatch):
    (tmp_path / "write.py").write_text(SCRIPT)
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    return tmp_path


def test_pages_are_written_and_campaigns_only_named(house, monkeypatch, capsys):
    quick, slow = pages.Page("write fresh", ("page.md",)), pages.Page("campaign --write", ("slow.md",), "hours")
    monkeypatch.setattr(pages, "PAGES", (slow, quick))
    assert pages.main([]) == 0
    assert (house / "page.md").read_text() == "fresh"
    assert capsys.readouterr().out == (
        "left as it is: slow.md (hours: python -m campaign --write)\npage.md: changed: 1\n"
    )
    assert pages.main(["page"]) == 0
    assert capsys.readouterr().out == "page.md: as before\n"
    assert pages.main(["none"]) == 2
    assert capsys.readouterr().err == "no generated page is called none\n"


def test_a_command_that_fails_is_named(house, monkeypatch, capsys):
    monkeypatch.setattr(pages, "PAGES", (pages.Page("write fresh 2", ("page.md",)),))
    assert pages.main([]) == 1
    assert capsys.readouterr().err == "failed with status 1: python -m write fresh 2\n"


# ---------------------------------------------------------------- the index


def listed():
    """The files that the index of the documentation links to."""
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", (ROOT / "docs" / "README.md").read_text())
    return {(ROOT / "docs" / link).resolve() for link in links}


def test_the_index_lists_every_page():
    every = {path for path in ROOT.glob("docs/**/*.md") if path != ROOT / "docs" / "README.md"}
    assert sorted(path.relative_to(ROOT).as_posix() for path in every - listed()) == []


LINK = re.compile(r"\[(`?)([^\]`]*)\1\]\(([^)#:\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", sorted([*ROOT.glob("*.md"), *ROOT.glob("[a-z]*/**/*.md")]), ids=lambda p: p.name)
def test_each_link_leads_to_a_file_and_a_file_name_to_that_file(page):
    wrong = []
    for _, text, target in LINK.findall(page.read_text(encoding="utf-8")):
        named = re.fullmatch(r"(?:[\w.-]+/)*([\w-]+\.(?:py|md|toml|json))", text)
        if not (page.parent / target).exists() or (named and named[1] != Path(target).name):
            wrong.append((text, target))
    assert wrong == []


def test_contributing_says_what_each_folder_of_tests_is_for():
    folders = {f"tests/{path.name}" for path in (ROOT / "tests").iterdir() if [*path.glob("*.py")]}
    named = set(re.findall(r"`(tests/\w+)`", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))
    assert named == folders
