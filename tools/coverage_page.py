"""Write docs/coverage.md: the rules that every primitive has."""

from pathlib import Path

from bibun.autograd.covered import page

if __name__ == "__main__":
    (Path(__file__).parents[1] / "docs" / "coverage.md").write_text(page())
