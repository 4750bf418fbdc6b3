"""The page on tests says of mutants what their record says."""

from pathlib import Path

from mutation import records

PAGE = Path(__file__).parents[2] / "docs" / "tests.md"
RECORD = records.HERE / "results" / "mutants.jsonl"


def test_the_page_says_what_became_of_the_mutants():
    rows = records.read(RECORD)
    page = PAGE.read_text("utf-8")
    assert records.table(rows) in page
    assert records.survivors(rows) in page
    assert not records.unexplained(rows)


def test_nine_in_ten_are_killed():
    rows = records.read(RECORD)
    assert len(rows) >= 300
    assert sum(row["outcome"] == "killed" for row in rows) >= 0.9 * len(rows)
