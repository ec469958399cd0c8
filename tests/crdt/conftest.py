"""What is shared by the tests of the set."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from crdtpubsub.crdt import admission


@pytest.fixture(autouse=True, scope="module")
def few_are_many() -> Iterator[None]:
    """Two births in a row are merged as 400 would be: the histories here are small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(admission, "ROW_MIN", 2)
        yield
