"""One user's file that uses every public name, as mypy and pyright see it."""
