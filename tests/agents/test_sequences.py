import pytest

from agents.sequences import SequenceOptions


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"burn_in_steps": 8}, r"burn_in_steps is 8: use 0 or segment_steps \(4\)"),
        ({"unroll_steps": 6}, r"unroll_steps is 6: use a multiple of segment_steps \(4\)"),
        ({"n_steps": 5}, r"n_steps is 5: use at most segment_steps \(4\)"),
    ],
)
def test_lengths_that_do_not_fit_segments_are_refused(
    change: dict[str, int], complaint: str
) -> None:
    fitting = {"segment_steps": 4, "burn_in_steps": 4, "unroll_steps": 8, "n_steps": 3}

    with pytest.raises(ValueError, match=complaint):
        SequenceOptions(**(fitting | change))


def test_the_rows_are_burn_in_unroll_and_what_the_last_target_looks_ahead_to() -> None:
    sequence = SequenceOptions(segment_steps=4, burn_in_steps=4, unroll_steps=8, n_steps=3)

    assert (sequence.rows, sequence.unroll_segments) == (15, 2)
    assert list(range(15))[sequence.trained] == [4, 5, 6, 7, 8, 9, 10, 11]
