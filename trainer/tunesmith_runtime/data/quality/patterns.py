"""The shapes of personal data, one row each; the first that fits a part of a text takes it."""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass

import regex
from stdnum import bitcoin, iban, luhn
from stdnum.br import cpf
from stdnum.cn import ric
from stdnum.de import idnr
from stdnum.es import dni, nie
from stdnum.fi import hetu
from stdnum.fr import nir
from stdnum.gb import nhs
from stdnum.in_ import aadhaar, pan
from stdnum.it import codicefiscale
from stdnum.kr import rrn
from stdnum.nl import bsn
from stdnum.pl import pesel
from stdnum.se import personnummer
from stdnum.us import itin, ssn

_LOCAL = r"\p{L}\p{M}\p{N}_.%+-"
_LABEL = r"\p{L}\p{M}\p{N}-"
_TOP_LEVEL = rf"(?i:xn--)[{_LABEL}]++|[\p{{L}}\p{{M}}]{{2,}}+"
# Rare in names, and more often a sign beside one.
_SIGNS = r"!#$&'*/=?^`{|}~"
_MAILBOX = rf"(?<![{_LOCAL}])[{_LOCAL}]++|(?<![{_SIGNS}])[{_SIGNS}]++"
_EMAIL = rf"(?:{_MAILBOX})@(?:[{_LABEL}]++\.)+(?:{_TOP_LEVEL})(?![\p{{L}}\p{{N}}])"
_IPV4 = r"(?<![\w.:])(?:\d{1,3}\.){3}\d{1,3}(?!\w|\.\d)"
_IPV6 = r"(?<![\w:.])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?:(?<=:)(?:\d{1,3}\.){3}\d{1,3})?(?![\w:])"
_CARD = regex.compile(r"4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}|2[2-7]\d{14}|3[47]\d{13}|3[0689]\d{12}|35\d{14}|6\d{15,18}")


def _is_card(candidate: str) -> bool:
    digits = candidate.replace(" ", "").replace("-", "")
    return _CARD.fullmatch(digits) is not None and bool(luhn.is_valid(digits))


def _is_ip(candidate: str) -> bool:
    """Tell whether this is an address of a machine; `::1` is every one's own, and `a::b` a name in C++."""
    try:
        address = ipaddress.ip_address(candidate)
    except ValueError:
        return False
    if address.is_loopback or address.is_unspecified:
        return False
    hexadecimal = candidate.replace(":", "")
    return address.version == 4 or (len(hexadecimal) >= 4 and any(each.isdigit() for each in hexadecimal))


def _always(candidate: str) -> bool:
    return bool(candidate)


@dataclass(frozen=True)
class Pattern:
    """A kind of personal data: its shape, what tells whether a candidate is valid, and words that must name it.

    A text with fewer than `min_digits` digits, or without `sign`, holds none.
    """

    kind: str
    shape: regex.Pattern[str]
    valid: Callable[[str], bool] = _always
    named_by: regex.Pattern[str] | None = None
    min_digits: int = 0
    sign: str = ""


def _named_by(words: str) -> regex.Pattern[str]:
    """Compile alternatives; a word in Latin letters must not begin or end within another one."""
    return regex.compile(rf"(?<!\p{{Latin}})(?:{words})(?!\p{{Latin}})", regex.IGNORECASE)


def _number(kind: str, shape: str, valid: Callable[[str], bool], named_by: str = "", min_digits: int = 7) -> Pattern:
    """Return the pattern of something that stands apart from other letters, digits and signs within numbers."""
    bounded = regex.compile(rf"(?<![\p{{L}}\p{{N}}]|\d[.,-])(?:{shape})(?!\p{{L}}|\p{{N}}|[.,-]\d)")

    def without_spaces(candidate: str) -> bool:
        return valid(candidate.replace(" ", ""))

    return Pattern(kind, bounded, without_spaces, _named_by(named_by) if named_by else None, min_digits)


# What may stand before a bare row of digits that is a telephone number.
PHONE_WORDS = _named_by(
    r"(?:tele)?phone(?: number)?s?|tel|cell|mobile|call|fax|sms|whatsapp|dial|telefon\w*|handy\w*|mobil\w*|anruf\w*"
    r"|téléphone|portable|teléfono|móvil|telefono|cellulare|celular|телефон\w*|тел|电话|電話|手机|手機|微信|携帯"
    r"|फ़ोन|फोन|मोबाइल"
)

PATTERNS = (
    Pattern("EMAIL_ADDRESS", regex.compile(_EMAIL), sign="@"),
    _number("IBAN_CODE", r"[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{1,4}){3,8}", iban.is_valid),
    _number("CREDIT_CARD", r"[2-6]\d{3}(?:[ -]?\d){9,15}", _is_card, min_digits=13),
    Pattern("IP_ADDRESS", regex.compile(_IPV4), _is_ip, min_digits=4, sign="."),
    Pattern("IP_ADDRESS", regex.compile(_IPV6), _is_ip, min_digits=1, sign=":"),
    _number("MAC_ADDRESS", r"[0-9A-Fa-f]{2}([:-])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}", _always, min_digits=1),
    _number("CRYPTO", r"[13][1-9A-HJ-NP-Za-km-z]{25,34}|bc1[02-9ac-hj-np-z]{11,71}", bitcoin.is_valid, min_digits=1),
    _number("CRYPTO", r"0x[0-9A-Fa-f]{40}", _always, min_digits=2),
    _number("US_SSN", r"\d{3}-\d{2}-\d{4}", ssn.is_valid),
    _number("US_SSN", r"\d{3} ?\d{2} ?\d{4}", ssn.is_valid, "ssn|social security(?: number| no)?"),
    _number("US_ITIN", r"9\d{2}[ -]?\d{2}[ -]?\d{4}", itin.is_valid, "itin|taxpayer(?: identification)?"),
    _number("UK_NHS", r"\d{3}[ -]?\d{3}[ -]?\d{4}", nhs.is_valid, "nhs"),
    _number("DE_TAX_ID", r"\d{2} ?\d{3} ?\d{3} ?\d{3}", idnr.is_valid, r"steuer\w*|idnr|tax id"),
    _number("ES_NIF", r"\d{8}[ -]?[A-Z]", dni.is_valid, "nif|dni"),
    _number("ES_NIE", r"[XYZ][ -]?\d{7}[ -]?[A-Z]", nie.is_valid),
    _number("FR_NIR", r"[12] ?\d{2} ?\d{2} ?\d[\dAB] ?\d{3} ?\d{3} ?\d{2}", nir.is_valid, min_digits=14),
    _number("IT_FISCAL_CODE", r"[A-Z]{6}\d{2}[A-Z]\d{2}[A-Z]\d{3}[A-Z]", codicefiscale.is_valid),
    _number("PL_PESEL", r"\d{11}", pesel.is_valid, "pesel"),
    _number("NL_BSN", r"\d{9}", bsn.is_valid, "bsn|burgerservicenummer"),
    _number("SE_PERSONNUMMER", r"(?:\d{2})?\d{6}[-+]\d{4}", personnummer.is_valid),
    _number("FI_PERSONAL_IDENTITY_CODE", r"\d{6}[-+A]\d{3}[0-9A-Y]", hetu.is_valid),
    _number("BR_CPF", r"\d{3}\.\d{3}\.\d{3}-\d{2}", cpf.is_valid),
    _number("IN_AADHAAR", r"\d{4}[ -]?\d{4}[ -]?\d{4}", aadhaar.is_valid, "aadhaar|aadhar|uidai|आधार"),
    _number("IN_PAN", r"[A-Z]{5}\d{4}[A-Z]", pan.is_valid, "pan|permanent account number", min_digits=4),
    _number("CN_RESIDENT_ID", r"\d{17}[\dX]", ric.is_valid, min_digits=17),
    _number("KR_RRN", r"\d{6}-\d{7}", rrn.is_valid),
)
