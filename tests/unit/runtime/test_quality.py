"""Records that are left out before training: by length, language, evaluation sets and what came before."""

import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith_api.data import Quality
from tunesmith_runtime.data.quality import Cleaner, QualityCounts
from tunesmith_runtime.data.quality.texts import texts
from tunesmith_runtime.data.records import (
    Answer,
    Completion,
    Conversation,
    LabelledText,
    Message,
    PlainText,
    Preference,
    Question,
    Rated,
    Record,
    TaggedTokens,
)
from tunesmith_runtime.errors import ConfigError

MOON = "The moon goes round the earth once in about twenty seven days and always shows the same face to those below."
CHINESE = "月亮大约每二十七天绕地球一周,并且总是以同一面朝向地球上的人们。"


def chat(question: str, answer: str, system: str = "You are a helpful assistant.") -> Conversation:
    return Conversation((Message("system", system), Message("user", question), Message("assistant", answer)))


def cleaned(quality: Quality, *records: Record, evaluation: tuple[Record, ...] = ()) -> tuple[list[Record], Cleaner]:
    cleaner = Cleaner(quality, evaluation)
    return list(cleaner.clean(records)), cleaner


# --- all steps ---


def test_without_settings_every_record_stays_as_it_is() -> None:
    records = (PlainText("a"), PlainText("a"), PlainText(""), PlainText("me@example.com"), PlainText("你好"))

    kept, cleaner = cleaned(Quality(), *records)

    assert kept == list(records)
    assert cleaner.counts == QualityCounts()


def test_records_are_cleaned_as_they_are_asked_for() -> None:
    def endless() -> "object":
        while True:
            yield PlainText("again")

    stream = Cleaner(Quality(min_characters=2)).clean(endless())  # type: ignore[arg-type]

    assert [next(stream), next(stream)] == [PlainText("again")] * 2


def test_each_step_counts_what_it_left_out() -> None:
    quality = Quality(
        deduplicate="near",
        redact_pii=True,
        languages=("en",),
        min_characters=5,
        max_characters=400,
    )
    kept, cleaner = cleaned(
        quality,
        PlainText("tiny"),
        PlainText("long " * 100),
        PlainText("Der Mond umkreist die Erde in etwa siebenundzwanzig Tagen."),
        PlainText("An exam asks how many days the moon needs to go once round the earth on its way."),
        PlainText(MOON + " Mail moon@example.com for more."),
        PlainText(MOON + " Mail MOON@example.org for  more."),
        PlainText(MOON + " Mail moon@example.com for some more."),
        evaluation=(PlainText("How many days the moon needs to go once round the earth on its way?"),),
    )

    assert kept == [PlainText(MOON + " Mail [EMAIL_ADDRESS] for more.")]
    counts = cleaner.counts
    assert (counts.too_short, counts.too_long, counts.language, counts.contaminated) == (1, 1, 1, 1)
    assert (counts.duplicates, counts.near_duplicates) == (1, 1)
    assert (counts.redactions, counts.redacted_records) == (1, 1)
    assert counts.redactions_by_kind == {"EMAIL_ADDRESS": 1}


def test_a_contaminated_record_does_not_stand_for_its_clean_copy() -> None:
    question = "Name the three largest moons of the planet Jupiter in the order of their distance from it."
    answer = "They are Io and Europa and then Ganymede and last of all comes Callisto, if four were asked for."
    quality = Quality(deduplicate="near", near_similarity=0.5)

    kept, cleaner = cleaned(
        quality, chat(question, answer), chat(question[:60], answer), evaluation=(PlainText(question),)
    )

    assert kept == [chat(question[:60], answer)]
    assert cleaner.counts.contaminated == 1


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (chat("q", "a", "s"), ("s", "q", "a")),
        (Completion("p", "c"), ("p", "c")),
        (PlainText("t"), ("t",)),
        (Question("id", "q", "c", (Answer("c", 0),)), ("q", "c")),
        (Preference(chat("q", "good", "s"), chat("q", "bad", "s")), ("s", "q", "good", "bad")),
        (Preference(Completion("p", "good"), Completion("p", "bad")), ("p", "good", "bad")),
        (Rated(Completion("p", "c"), False), ("p", "c")),
        (LabelledText("t", None, "x"), ("t",)),
        (LabelledText("t", "u", 0.5), ("t", "u")),
        (TaggedTokens(("a", "b"), ("X", "O")), ("a b",)),
    ],
)
def test_every_kind_of_record_has_its_texts(record: Record, expected: tuple[str, ...]) -> None:
    assert texts(record) == expected


def test_a_step_that_is_off_brings_no_library() -> None:
    program = (
        "import sys; from tunesmith_api.data import Quality; from tunesmith_runtime.data.quality import Cleaner\n"
        "Cleaner(Quality(deduplicate='exact', min_characters=3))\n"
        "print(*({'datasketch', 'scipy', 'py3langid', 'phonenumbers', 'stdnum', 'torch'} & sys.modules.keys()))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == ""


# --- length ---


def test_length_counts_the_characters_of_all_texts() -> None:
    quality = Quality(min_characters=4, max_characters=6)
    records = [Completion("ab", "c"), Completion("ab", "cd"), Completion("月亮", "🌕🌖🌗🌘"), Completion("abc", "defg")]

    kept, cleaner = cleaned(quality, *records)

    assert kept == records[1:3]
    assert (cleaner.counts.too_short, cleaner.counts.too_long) == (1, 1)


# --- exact duplicates ---


def test_case_white_space_and_encoding_make_no_difference() -> None:
    kept, cleaner = cleaned(
        Quality(deduplicate="exact"),
        PlainText("Crème brûlée, please"),
        PlainText("  cre\u0300me\nbru\u0302le\u0301e,\tPLEASE "),
        PlainText("Ｃｒème brûlée, please"),
        PlainText("Creme brulee, please"),
    )

    assert kept == [PlainText("Crème brûlée, please"), PlainText("Creme brulee, please")]
    assert cleaner.counts.duplicates == 2


def test_duplicates_are_found_across_datasets() -> None:
    cleaner = Cleaner(Quality(deduplicate="exact"))

    first = list(cleaner.clean([chat("Why?", "Because."), chat("When?", "Now.")]))
    second = list(cleaner.clean([chat("when?", "now."), chat("When?", "Later.")]))

    assert (len(first), second) == (2, [chat("When?", "Later.")])
    assert cleaner.counts.duplicates == 1


def test_texts_that_only_join_up_alike_are_no_duplicates() -> None:
    kept, _ = cleaned(Quality(deduplicate="exact"), Completion("a b", "c"), Completion("a", "b c"), PlainText("🙂"))

    assert len(kept) == 3


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text(max_size=8).map(PlainText), max_size=20))
def test_leaving_out_duplicates_twice_changes_nothing_more(records: list[PlainText]) -> None:
    once, cleaner = cleaned(Quality(deduplicate="exact"), *records)
    twice, _ = cleaned(Quality(deduplicate="exact"), *once)

    assert twice == once
    assert len(once) + cleaner.counts.duplicates == len(records)
    assert len(set(once)) == len(once)


# --- near duplicates ---


def test_of_nearly_the_same_texts_the_first_is_kept() -> None:
    changed = MOON.replace("below.", "beneath!")

    kept, cleaner = cleaned(Quality(deduplicate="near"), PlainText(MOON), PlainText(changed), PlainText(MOON.upper()))

    assert kept == [PlainText(MOON)]
    assert (cleaner.counts.near_duplicates, cleaner.counts.duplicates) == (1, 1)


def test_texts_less_similar_than_asked_for_are_kept() -> None:
    other = " ".join(word if index % 7 else "never" for index, word in enumerate(MOON.split()))

    kept, _ = cleaned(Quality(deduplicate="near", near_similarity=0.5), PlainText(MOON), PlainText(other))

    assert len(kept) == 2


@pytest.mark.parametrize("similarity", [0.5, 0.65, 0.8, 0.95, 1.0])
def test_every_similarity_finds_texts_with_the_same_words(similarity: float) -> None:
    quality = Quality(deduplicate="near", near_similarity=similarity)

    kept, cleaner = cleaned(quality, PlainText(MOON), PlainText(MOON.replace(" and ", ", and ")))

    assert (len(kept), cleaner.counts.near_duplicates) == (1, 1)


def test_chinese_is_compared_by_its_characters() -> None:
    changed = CHINESE.replace("人们", "我们")

    kept, _ = cleaned(
        Quality(deduplicate="near", near_similarity=0.7),
        PlainText(CHINESE),
        PlainText(changed),
        PlainText(CHINESE[::-1]),
    )

    assert kept == [PlainText(CHINESE), PlainText(CHINESE[::-1])]


def test_short_texts_are_near_duplicates_only_with_the_same_words() -> None:
    kept, _ = cleaned(
        Quality(deduplicate="near"),
        *(PlainText(text) for text in ("Yes, it is.", "yes it is", "Yes, it was.", "🙂", "🙁", "")),
    )

    assert [record.text for record in kept if isinstance(record, PlainText)] == [
        "Yes, it is.",
        "Yes, it was.",
        "🙂",
        "🙁",
        "",
    ]


def test_other_answers_on_a_long_prompt_are_no_duplicates() -> None:
    long = " ".join([MOON] * 3)
    records: list[Record] = [
        chat(f"{long} How often in a year?", "About thirteen times."),
        chat(f"{long} What does it show?", "Always the same face."),
        Question("1", "How often in a year?", long, ()),
        Question("2", "What does it show?", long, ()),
        Completion(long, "yes"),
        Completion(long, "no"),
        Preference(Completion(long, "yes"), Completion(long, "no")),
        Preference(Completion(long, "no"), Completion(long, "yes")),
    ]

    kept, _ = cleaned(Quality(deduplicate="near", near_similarity=0.5), *records)

    assert kept == records


def test_nearly_the_same_text_with_another_label_is_kept() -> None:
    good, bad = LabelledText(MOON, None, "true"), LabelledText(MOON.replace("below.", "above."), None, "false")

    kept, _ = cleaned(Quality(deduplicate="near"), good, bad, LabelledText(MOON + " So.", None, "true"))

    assert kept == [good, bad]


def test_the_same_records_give_the_same_result_each_time() -> None:
    lines = [f"{MOON} Part {number % 7} of a story that is told {number // 3} times." for number in range(60)]

    first, second = (cleaned(Quality(deduplicate="near"), *map(PlainText, lines))[0] for _ in range(2))

    assert first == second
    assert first[0] == PlainText(lines[0])
    assert len(first) < len(lines)


# --- language ---


def test_records_in_other_languages_are_left_out() -> None:
    german, french = "Der Mond umkreist die Erde in etwa einem Monat.", "La lune tourne autour de la terre en un mois."

    kept, cleaner = cleaned(
        Quality(languages=("en", "de")), *map(PlainText, (MOON, german, french, CHINESE, MOON.upper()))
    )

    assert kept == [PlainText(MOON), PlainText(german), PlainText(MOON.upper())]
    assert cleaner.counts.language == 2


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("zh", CHINESE),
        ("ja", "月は約二十七日で地球を一周し、いつも同じ面を見せています。"),
        ("ar", "يدور القمر حول الأرض مرة كل سبعة وعشرين يوما تقريبا."),
        ("hi", "चंद्रमा लगभग सत्ताईस दिनों में पृथ्वी का एक चक्कर लगाता है।"),
        ("nb", "Månen går rundt jorden på omtrent tjuesju dager og viser alltid samme side."),
    ],
)
def test_languages_of_every_script_are_told(code: str, text: str) -> None:
    kept, _ = cleaned(Quality(languages=(code,)), PlainText(text), PlainText(MOON))

    assert kept == [PlainText(text)]


@pytest.mark.parametrize(
    "text", ["", "OK", "Guten Tag!", "你好", "🙂🙂🙂", "12 + 30 = 42", "3.14159265358979323846 " * 3]
)
def test_a_text_whose_language_cannot_be_told_is_kept(text: str) -> None:
    kept, _ = cleaned(Quality(languages=("en",)), PlainText(text))

    assert kept == [PlainText(text)]


def test_a_language_that_cannot_be_told_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.quality\.languages: xx cannot be told .* those that can are .*en, "):
        Cleaner(Quality(languages=("en", "xx")))


# --- evaluation sets ---

EXAM = "How many days does the moon need to go once round the earth if nothing stops it?"


@pytest.mark.parametrize(
    "text",
    [
        EXAM,
        f"Somebody asked: how many days does the MOON need... to go once round the earth -- if I knew! {MOON}",
        f"First a line.\n{EXAM}\nThen a line.",
    ],
)
def test_a_shared_run_of_words_is_contamination(text: str) -> None:
    kept, cleaner = cleaned(Quality(), Completion("A prompt", text), PlainText(MOON), evaluation=(chat(EXAM, "27"),))

    assert kept == [PlainText(MOON)]
    assert cleaner.counts.contaminated == 1


def test_the_run_may_be_shorter_or_longer() -> None:
    text = PlainText("They ask how many days does the moon need, more or less")

    assert cleaned(Quality(decontamination_ngram=7), text, evaluation=(PlainText(EXAM),))[0] == []
    assert cleaned(Quality(decontamination_ngram=8), text, evaluation=(PlainText(EXAM),))[0] == [text]


def test_a_short_evaluation_text_counts_when_it_stands_whole_in_a_record() -> None:
    eight = "Which planet of ours has the most moons?"
    records: list[Record] = [
        PlainText(f"Quiz: {eight} Saturn."),
        PlainText("Which planet of ours has the most rings?"),
        PlainText("Which planet of ours has the most or the fewest moons?"),
    ]

    kept, _ = cleaned(Quality(), *records, evaluation=(PlainText(eight),))

    assert kept == records[1:]


def test_evaluation_texts_of_a_few_words_say_nothing() -> None:
    record = PlainText("Is the earth round? Yes, it is.")

    assert cleaned(Quality(), record, evaluation=(chat("Is the earth round?", "Yes, it is."),))[0] == [record]


def test_what_frames_every_evaluation_question_is_not_compared() -> None:
    system = "You are a careful tutor who answers every question of a pupil in one short sentence."
    frame = "The following is a question of an exam, answer it with one letter from A to D:"
    evaluation = tuple(chat(f"{frame} number {index}?", "A", system) for index in range(60))
    record = chat(f"{frame} which is the largest?", "B", system)

    assert cleaned(Quality(), record, evaluation=evaluation)[0] == [record]
    assert cleaned(Quality(), record, evaluation=evaluation[:40])[0] == []


def test_chinese_contamination_counts_characters() -> None:
    kept, _ = cleaned(
        Quality(), PlainText(f"题目：{CHINESE[:16]}吗?"), PlainText(CHINESE[-9:]), evaluation=(PlainText(CHINESE),)
    )

    assert kept == [PlainText(CHINESE[-9:])]


def test_contexts_and_answers_of_questions_are_compared() -> None:
    evaluation = (Question("1", "How long?", MOON, (Answer("twenty seven days", MOON.index("twenty")),)),)

    assert cleaned(Quality(), chat(f"Read this: {MOON}", "Done."), evaluation=evaluation)[0] == []


def test_cleaning_is_quick() -> None:
    records = [PlainText(" ".join(f"w{number * word % 997}" for word in range(100))) for number in range(1, 200)]
    quality = Quality(deduplicate="exact", redact_pii=True, min_characters=1)
    cleaner = Cleaner(quality, (PlainText(EXAM),))

    started = time.perf_counter()
    list(cleaner.clean(records))

    assert time.perf_counter() - started < 10  # 20 records a second, on any machine
