"""Studies of one question each."""

import jaxml.studies.topics.staircase_view  # noqa: F401 - what results show
