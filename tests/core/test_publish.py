"""The stages of a publish."""

import pytest

from bridge.core.publish import Stage

STAGES = [
    (Stage.SENT, Stage.RETURNED, False, False),
    (Stage.RETURNED, None, True, False),
    (Stage.COPY, Stage.COPY_RETURNED, False, True),
    (Stage.COPY_RETURNED, None, True, True),
]
"""Each stage, the one when it is returned, and whether it is returned, and the copy."""


@pytest.mark.parametrize(("stage", "then", "is_returned", "is_copy"), STAGES)
def test_stages_of_a_message_that_is_returned(stage, then, is_returned, is_copy):
    """What was returned already cannot be returned once more."""
    assert (is_returned, is_copy) == (stage.is_returned, stage.is_copy)
    if then is None:
        with pytest.raises(KeyError):
            stage.when_returned()
    else:
        assert then is stage.when_returned()


def test_every_stage_is_tested():
    """A new stage needs a line in the table."""
    assert list(Stage) == [stage for stage, *_ in STAGES]
