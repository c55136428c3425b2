"""The classes that training records have."""

import pytest

from tunesmith_runtime.data.labels import find_labels, find_tags, number_of
from tunesmith_runtime.data.records import LabelledText, TaggedTokens
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.train.recipes.recipe import Labels


def labelled(*labels: str | float | tuple[str, ...]) -> list[LabelledText]:
    return [LabelledText("text", None, label) for label in labels]


def test_classes_are_sorted_by_name_and_each_is_there_once() -> None:
    assert find_labels(labelled("spam", "ham", "spam")) == Labels("single", ("ham", "spam"))


def test_numbers_of_classes_are_sorted_as_numbers() -> None:
    assert find_labels(labelled("10", "2", "-1", "0")).names == ("-1", "0", "2", "10")


def test_numbers_in_names_are_sorted_as_numbers() -> None:
    assert find_labels(labelled("level 10", "level 9", "none")).names == ("level 9", "level 10", "none")


def test_several_classes_to_a_record() -> None:
    assert find_labels(labelled(("red", "blue"), (), ("red",))) == Labels("multi", ("blue", "red"))


def test_numbers_to_predict_have_no_classes() -> None:
    assert find_labels(labelled(0.5, 3.0)) == Labels("regression", ())


def test_kinds_cannot_be_mixed() -> None:
    with pytest.raises(DataError, match="1 with a list of classes, 2 with one class; use one kind"):
        find_labels(labelled("a", "b", ("a",)))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (("a", "a"), "the only class is 'a' in all training records; at least two different ones"),
        (((), ()), "there is no class in all training records; at least one"),
        ((1.0, float("nan")), "a label is nan"),
        ((), "there is no class"),
    ],
)
def test_what_nothing_can_be_learnt_from_is_refused(labels: tuple[str | float, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        find_labels(labelled(*labels))


def test_the_tag_outside_comes_first() -> None:
    records = [TaggedTokens(("a", "b"), ("I-PER", "O")), TaggedTokens(("a", "b"), ("B-PER", "B-LOC"))]
    assert find_tags(records) == Labels("single", ("O", "B-LOC", "B-PER", "I-PER"))


def test_one_tag_is_too_few() -> None:
    with pytest.raises(DataError, match="the only tag is 'O'"):
        find_tags([TaggedTokens(("a",), ("O",))])


def test_a_class_has_its_place_as_number() -> None:
    assert number_of("b", Labels("single", ("a", "b"))) == 1


def test_a_class_that_no_training_record_has_is_refused() -> None:
    names = tuple(f"c{number}" for number in range(12))
    with pytest.raises(DataError, match=r"'x' is none of the 12 .*: c0, c1, .*, c9 and 2 more; correct it"):
        number_of("x", Labels("single", names))
