"""The page of campaigns shows which of them are of the code as it is, and which are not."""

import json

import pytest
from docs import campaigns, pages

LONG = {file for page in pages.PAGES if page.campaign for file in page.files}


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A house with one folder and one campaign about it, which has been run."""
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "code.py").write_text('"""Why."""\nA = 1  # one\n')
    (tmp_path / "docs" / "generated").mkdir(parents=True)
    for name, value in {
        "ROOT": tmp_path,
        "FILE": tmp_path / "docs" / "campaigns.json",
        "PAGE": tmp_path / "docs" / "generated" / "campaigns.md",
        "CAMPAIGNS": (campaigns.Campaign("make it", "docs/it.md", ("room",)),),
    }.items():
        monkeypatch.setattr(campaigns, name, value)
    (tmp_path / "docs" / "campaigns.json").write_text("{}")
    campaigns.digest.cache_clear()
    campaigns.record(tmp_path / "docs" / "it.md")
    yield tmp_path
    campaigns.digest.cache_clear()


def test_the_page_shows_of_each_campaign_what_has_changed_since():
    assert campaigns.PAGE.read_text() == campaigns.text(), "run: python -m docs.campaigns --write"


def test_every_page_that_takes_long_is_a_campaigns():
    listed = [campaign.page for campaign in campaigns.CAMPAIGNS]
    assert set(listed) >= LONG
    assert list(campaigns.recorded()) == listed


def test_the_file_of_a_campaign_is_there_and_so_is_what_it_covers():
    for campaign in campaigns.CAMPAIGNS:
        assert (campaigns.ROOT / campaign.page).exists()
        assert all(len(campaigns.digest(path)) == 16 for path in campaign.covers)


def test_a_change_of_a_program_is_seen_and_one_of_its_words_is_not(house, capsys):
    assert campaigns.main([]) == 0
    (house / "room" / "code.py").write_text('"""Why not."""\n# two\nA = 1\n')
    campaigns.digest.cache_clear()
    assert campaigns.main([]) == 0
    assert campaigns.main(["--check"]) == 0
    (house / "room" / "code.py").write_text('"""Why."""\nA = 2\n')
    campaigns.digest.cache_clear()
    assert campaigns.main(["--check"]) == 1
    capsys.readouterr()
    assert campaigns.main([]) == 1
    assert capsys.readouterr().out == "docs/it.md: changed since: room; run: make it\n"
    assert campaigns.main(["--write"]) == 0
    assert "**changed: `room`**" in campaigns.PAGE.read_text()
    assert campaigns.main(["--record", "docs/it.md"]) == 0
    assert "**changed" not in campaigns.PAGE.read_text()


def test_a_new_file_is_a_change(house):
    (house / "room" / "more.py").write_text("")
    campaigns.digest.cache_clear()
    assert campaigns.changed(campaigns.CAMPAIGNS[0], campaigns.recorded()["docs/it.md"]) == ["room"]


def test_only_a_campaigns_page_is_recorded(house, capsys):
    assert campaigns.main(["--record", "docs/that.md"]) == 2
    assert capsys.readouterr().err == "--record takes the page of a campaign: docs/it.md\n"
    assert list(json.loads(campaigns.FILE.read_text())) == ["docs/it.md"]


def test_what_is_not_there_is_named(house):
    with pytest.raises(FileNotFoundError, match="cover cellar, which is not there"):
        campaigns.digest("cellar")
