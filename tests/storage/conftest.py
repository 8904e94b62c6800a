"""A folder for each test."""

import pytest
from etils import epath


@pytest.fixture
def folder(tmp_path):
    return epath.Path(tmp_path)
