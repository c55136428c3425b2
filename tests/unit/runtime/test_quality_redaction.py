"""Personal data in records."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith_api.data import Quality
from tunesmith_runtime.data.quality import Cleaner
from tunesmith_runtime.data.quality.redaction import redact
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


def redacted(text: str) -> str:
    record, _ = redact(PlainText(text))
    assert isinstance(record, PlainText)
    return record.text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to joe.doe+news@mail.example.co.uk.", "Write to [EMAIL_ADDRESS]."),
        (
            "<a@b.org>, mailto:c@d.io; e-mail='x@corp.internal'",
            "<[EMAIL_ADDRESS]>, mailto:[EMAIL_ADDRESS]; e-mail='[EMAIL_ADDRESS]'",
        ),
        ("Call 212-555-5555 or (650) 253-0000", "Call [PHONE_NUMBER] or [PHONE_NUMBER]"),
        ("+49 30 901820 und 030 901820", "[PHONE_NUMBER] und [PHONE_NUMBER]"),
        ("Mon numéro : 01 23 45 67 89", "Mon numéro : [PHONE_NUMBER]"),
        ("my phone is 2125550187", "my phone is [PHONE_NUMBER]"),
        ("Card 4111-1111-1111-1111 123", "Card [CREDIT_CARD] 123"),
        ("378282246310005", "[CREDIT_CARD]"),
        ("DE89 3704 0044 0532 0130 00 BIC COBADEFFXXX", "[IBAN_CODE] BIC COBADEFFXXX"),
        ("GB82WEST12345698765432", "[IBAN_CODE]"),
        ("from 10.0.0.7 and 2001:db8::1", "from [IP_ADDRESS] and [IP_ADDRESS]"),
        ("mac 00:1A:2B:3C:4D:5E", "mac [MAC_ADDRESS]"),
        ("536-90-4399", "[US_SSN]"),
        ("her SSN: 536 90 4399", "her SSN: [US_SSN]"),
        ("1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", "[CRYPTO]"),
        ("bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", "[CRYPTO]"),
        ("0x52908400098527886E0F7030069857D2E4169EE7", "[CRYPTO]"),
        ("CPF 529.982.247-25", "CPF [BR_CPF]"),
        ("身份证11010519491231002X。", "身份证[CN_RESIDENT_ID]。"),
    ],
)
def test_personal_data_is_replaced_by_its_kind(text: str, expected: str) -> None:
    assert redacted(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("邮箱是foo@example.com谢谢,电话：13800138000。", "邮箱是[EMAIL_ADDRESS]谢谢,电话：[PHONE_NUMBER]。"),
        ("全角ｆｏｏ＠ｅｘａｍｐｌｅ．ｃｏｍです", "全角[EMAIL_ADDRESS]です"),
        ("이메일 hong@naver.com으로", "이메일 [EMAIL_ADDRESS]으로"),
        ("📧me@x.com📞+1 650-253-0000👍", "📧[EMAIL_ADDRESS]📞[PHONE_NUMBER]👍"),
        ("Cafe\u0301: jose\u0301@example.com", "Cafe\u0301: [EMAIL_ADDRESS]"),
        ("почта иван@пример.рф", "почта [EMAIL_ADDRESS]"),
    ],
)
def test_personal_data_is_found_in_every_script(text: str, expected: str) -> None:
    assert redacted(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "What is 2025550187 + 1? It is 2025550188.",
        "Card 4111 1111 1111 1112 fails its checksum, and so does DE88 3704 0044 0532 0130 00.",
        "On 2024-10-31 12:30:45, 31.10.2024 and 2024/10/31",
        "2 000 000 000 divided by 1 000, 12 345 678 + 87 654 321, 1,234,567,890 and 3.141592653589793",
        "1990-1995, ISBN 0-306-40615-2, 52.5200, 13.4050",
        "std::vector, C::D, ::1, 127.0.0.1 and 12:30:45",
        '@app.route("/x") and a @ b.T, user@localhost',
        "1 2 3 4 5 6 7 8 9 10\n11 12 13 14 15 16 17 18 19 20",
        "🙂 你好 สวัสดี e\u0301",
    ],
)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert redacted(text) == text


def test_replacements_are_counted_by_kind() -> None:
    cleaner = Cleaner(Quality(redact_pii=True))

    list(cleaner.clean([Completion("a@b.com or c@d.com", "10.1.2.3"), PlainText("nothing"), PlainText("e@f.com")]))

    assert cleaner.counts.redactions_by_kind == {"EMAIL_ADDRESS": 3, "IP_ADDRESS": 1}
    assert (cleaner.counts.redactions, cleaner.counts.redacted_records) == (4, 2)


def test_replacements_in_a_duplicate_are_not_counted() -> None:
    cleaner = Cleaner(Quality(redact_pii=True, deduplicate="exact"))

    kept = list(cleaner.clean([PlainText("Mail a@b.com"), PlainText("Mail c@d.com")]))

    assert kept == [PlainText("Mail [EMAIL_ADDRESS]")]
    assert (cleaner.counts.duplicates, cleaner.counts.redactions, cleaner.counts.redacted_records) == (1, 1, 1)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (
            Conversation((Message("user", "Who is a@b.com?"), Message("assistant", "Ask a@b.com.")), first_scored=1),
            Conversation(
                (Message("user", "Who is [EMAIL_ADDRESS]?"), Message("assistant", "Ask [EMAIL_ADDRESS].")),
                first_scored=1,
            ),
        ),
        (
            Preference(Completion("To a@b.com:", "Dear A"), Completion("To a@b.com:", "Oi a@b.com")),
            Preference(
                Completion("To [EMAIL_ADDRESS]:", "Dear A"), Completion("To [EMAIL_ADDRESS]:", "Oi [EMAIL_ADDRESS]")
            ),
        ),
        (Rated(Completion("a@b.com", "no"), False), Rated(Completion("[EMAIL_ADDRESS]", "no"), False)),
        (LabelledText("a@b.com", "c@d.com", "x@y.com"), LabelledText("[EMAIL_ADDRESS]", "[EMAIL_ADDRESS]", "x@y.com")),
        (LabelledText("a@b.com", None, 0.5), LabelledText("[EMAIL_ADDRESS]", None, 0.5)),
        (
            TaggedTokens(("Call", "+49", "30", "901820", "or", "(a@b.com)"), ("O", "T", "T", "T", "O", "M")),
            TaggedTokens(
                ("Call", "[PHONE_NUMBER]", "[PHONE_NUMBER]", "[PHONE_NUMBER]", "or", "([EMAIL_ADDRESS])"),
                ("O", "T", "T", "T", "O", "M"),
            ),
        ),
    ],
)
def test_what_belongs_together_stays_together(record: Record, expected: Record) -> None:
    assert redact(record)[0] == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Berlin", "Berlin"),
        ("joe@example.com", "[EMAIL_ADDRESS]"),
        ("example.com", "[EMAIL_ADDRESS]"),
        ("at joe@example.com in", "at [EMAIL_ADDRESS] in"),
        ("Write", "Write"),
        ("10.0.0.7", "[IP_ADDRESS]"),
    ],
)
def test_answers_stand_in_the_redacted_context(answer: str, expected: str) -> None:
    context = "Write to Joe at joe@example.com in Berlin, or from 10.0.0.7"
    question = Question("7", "Where is joe@example.com?", context, (Answer(answer, context.index(answer)),))

    record, _ = redact(question)

    assert isinstance(record, Question)
    assert record.question == "Where is [EMAIL_ADDRESS]?"
    assert record.context == "Write to Joe at [EMAIL_ADDRESS] in Berlin, or from [IP_ADDRESS]"
    (found,) = record.answers
    assert found.text == expected
    assert record.context[found.start :].startswith(expected)


@settings(deadline=None, max_examples=60)
@given(st.emails(), st.text(alphabet=st.sampled_from(" \n,;()<>你好の한🙂。"), max_size=5), st.text(max_size=10))
def test_no_email_address_is_left(address: str, before: str, after: str) -> None:
    left = redacted(f"{before}{address} {after}")

    assert address not in left
    assert "[EMAIL_ADDRESS]" in left


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.sampled_from(
            ["a@b.com", "10.0.0.7", "+49 30 901820", "moon", "月亮", "🙂", " ", ",", "e\u0301", "12", "536-90-4399"]
        ),
        max_size=12,
    ),
    st.data(),
)
def test_any_answer_is_found_where_it_is_said_to_be(parts: list[str], data: st.DataObject) -> None:
    context = " ".join(parts)
    start = data.draw(st.integers(0, len(context)))
    end = data.draw(st.integers(start, len(context)))

    record, _ = redact(Question("1", "?", context, (Answer(context[start:end], start),)))

    assert isinstance(record, Question)
    (answer,) = record.answers
    assert record.context[answer.start : answer.start + len(answer.text)] == answer.text
    assert record.context == redacted(context)


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=60))
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    assert redacted(redacted(text)) == redacted(text)


@pytest.mark.parametrize("part", ["1 ", "1", "1-", "a.", "a@a.", "ab12 ", "00:", "(1", "+1 2", "1.2.", "0x", "DE89 "])
def test_long_tables_and_garbage_take_no_time(part: str) -> None:
    started = time.perf_counter()

    redacted(part * (20_000 // len(part)))

    assert time.perf_counter() - started < 5
