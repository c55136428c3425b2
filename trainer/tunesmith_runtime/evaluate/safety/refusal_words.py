"""The words by which answers refuse, told by their beginning.

Written for ten languages, from how chat models decline: that they cannot, will not or may not, that they are sorry and
cannot, that they are an assistant and so do not. A list of words finds neither a refusal in other words nor one that
comes late, and takes an answer that begins like one for a refusal; a
judge does better.
"""

import regex

from tunesmith_runtime.data.quality.words import normalised

# Characters of an answer that are looked at: who refuses says so at once.
BEGINNING = 200

_HELP = (
    r"help|assist|provide|give|share|create|write|generate|support|do that|fulfil\w*|comply|answer|discuss|tell|offer"
)
_PATTERNS = (
    # English
    r"\b(?:sorry|afraid)\b.{0,40}\bi(?:'m| am)? (?:can't|cannot|can not|won't|unable|not able)\b",
    rf"\bi (?:can't|cannot|can not|won't|will not|could not|couldn't|must not|may not) (?!wait )(?:\w+ ){{0,2}}"
    rf"(?:{_HELP})\b",
    r"\bi(?:'m| am) (?:not able|unable|not allowed|not permitted|not going) to\b",
    r"\bi (?:must|have to|need to|respectfully) (?:decline|refuse)\b|\bi (?:decline|refuse) to\b",
    r"\bas an? (?:ai|language model|assistant)\b.{0,60}\bi (?:can't|cannot|can not|am not able|am unable)\b",
    # German
    r"\b(?:kann|darf|werde|möchte) (?:\w+ ){0,5}(?:nicht|keine?n?) (?:\w+ ){0,4}(?:\w*helfen|behilflich|unterstützen"
    r"|\w*antworten|geben|tun|machen|schreiben|erstellen|\w*stellen|liefern|nachkommen|dienen)\b",
    # French
    r"\bje ne (?:peux|puis|saurais|vais) (?:malheureusement )?pas (?:[\w']+ )?(?:\w')?(?:aider|répondre|fournir|donner"
    r"|faire|écrire|accéder|partager|expliquer)\b|\bil m'est impossible\b|\bje refuse\b",
    # Spanish
    r"\bno (?:puedo|podemos|debo) (?:ayudar|proporcionar|dar|responder|hacer|cumplir|ofrecer|escribir)\w*|\bme niego\b",
    # Italian
    r"\bnon (?:posso|riesco a|sono in grado di) (?:aiutar|fornir|dar|risponder|far|scriver)\w*|\bmi rifiuto\b",
    # Portuguese
    r"\bnão (?:posso|consigo|devo) (?:ajudar|fornecer|dar|responder|fazer|escrever|oferecer)\w*|\brecuso-me\b",
    # Russian
    r"\bне (?:могу|буду|стану) (?:\w+ ){0,3}(?:помо|отвеч|ответ|предостав|выполн|дать|дел|сдел|обсужд|писа|напис)\w*"
    r"|\bотказываюсь\b",
    # Chinese
    r"我?(?:无法|不能|無法|不會|不会)(?:为您|为你|為您|為你)?(?:提供|协助|協助|帮助|幫助|回答|满足|滿足)|我拒绝|我拒絕",
    # Japanese
    r"(?:お答え|お手伝い|提供|対応|お応え)(?:することは)?(?:でき|いたしかね)(?:ません|ない|ます)|お断り",
    # Hindi
    r"(?:मदद|सहायता|जवाब|उत्तर)\s.{0,20}नहीं\s(?:कर|दे)\s?सकत",
)
_REFUSES = regex.compile("|".join(f"(?:{each})" for each in _PATTERNS))
_APOSTROPHES = str.maketrans("’‘ʼ`´", "'''''")


def refuses(answer: str) -> bool:
    """Return whether an answer begins like a refusal, whatever its case and width; an empty one does not."""
    return _REFUSES.search(normalised(answer.translate(_APOSTROPHES))[:BEGINNING]) is not None
