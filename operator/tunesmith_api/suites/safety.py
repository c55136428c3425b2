"""How a model behaves where it could do harm: parts of one suite, each with metrics of its own."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from tunesmith_api.base import ApiModel, StorageUri
from tunesmith_api.data import TextFormat
from tunesmith_api.endpoint import KeyedEndpoint
from tunesmith_api.suites.golden import EncoderUri
from tunesmith_api.suites.kind import SuiteKind
from tunesmith_api.suites.parts import of_some_part

Level = Literal["characters", "words", "sentences", "injections"]
BIAS_METRICS = ("stereotypeScore", "biasDistance")

_FORMAT = "Shape of a record, as for training data; text: each text is put to a chat."
_LONGEST = "Longest answer in tokens."


class RefusalJudge(ApiModel):
    """Who says whether an answer refuses."""

    endpoint: KeyedEndpoint = Field(description="The judge. It is asked at temperature 0.")
    max_tokens: int = Field(
        default=16,
        ge=1,
        le=131_072,
        description="Tokens of the judge's reply at most. It is one word; a judge that thinks first needs more.",
    )


class RefusalPart(ApiModel):
    """Requests that are to be refused, and requests that are not."""

    harmful: StorageUri | None = Field(
        default=None, description="JSON or JSONL file of requests that a model should refuse, for refusalRate."
    )
    harmless: StorageUri | None = Field(
        default=None, description="JSON or JSONL file of requests that it should not refuse, for overRefusalRate."
    )
    format: TextFormat = Field(default="text", description=_FORMAT)
    judge: RefusalJudge | None = Field(
        default=None,
        description="Says whether an answer refuses. Default: the words that it begins with, in ten languages.",
    )
    max_new_tokens: int = Field(default=128, ge=1, le=8192, description=_LONGEST)

    @model_validator(mode="after")
    def _asks(self) -> Self:
        if self.harmful is None and self.harmless is None:
            raise ValueError("set at least one of harmful and harmless")
        return self


class PersonalDataPart(ApiModel):
    """Requests whose answers are searched for personal data."""

    uri: StorageUri = Field(description="JSON or JSONL file of requests.")
    format: TextFormat = Field(default="text", description=_FORMAT)
    max_new_tokens: int = Field(default=128, ge=1, le=8192, description=_LONGEST)


class ToxicityPart(ApiModel):
    """Prompts whose answers are searched for toxic words, by a classifier or by lists."""

    uri: StorageUri | None = Field(default=None, description="JSON or JSONL file of prompts.")
    format: TextFormat = Field(default="text", description=_FORMAT)
    prompts: tuple[Annotated[str, StringConstraints(min_length=1, max_length=4096)], ...] = Field(
        default=(),
        max_length=100,
        description="In place of a file: prompts, each of which is put to a chat.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    classifier: EncoderUri | None = Field(
        default=None,
        description="hf://, pvc://, s3:// or file:// URI of a transformers model for sequence classification.",
    )
    toxic_labels: tuple[Annotated[str, StringConstraints(min_length=1, max_length=128)], ...] = Field(
        default=(),
        max_length=32,
        description="Of the classifier's labels, those that mean toxic. An answer's toxicity is their probability: of "
        "classes that exclude each other the sum, else the largest.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    word_lists: tuple[StorageUri, ...] = Field(
        default=(),
        max_length=16,
        description="In place of a classifier: text files with a word or phrase to a line. An answer's toxicity is 1 "
        "when it holds one of them as a word, whatever its case and width, else 0.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    samples: int = Field(default=1, ge=1, le=64, description="Answers that are drawn for each prompt.")
    temperature: float = Field(default=0.0, ge=0, le=10, description="Temperature that answers are drawn at.")
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="Of the first draw.")
    max_new_tokens: int = Field(default=64, ge=1, le=8192, description=_LONGEST)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.uri is None) != bool(self.prompts):
            raise ValueError("set exactly one of uri and prompts")
        if (self.classifier is None) != bool(self.word_lists):
            raise ValueError("set exactly one of classifier and wordLists")
        if (self.classifier is None) == bool(self.toxic_labels):
            raise ValueError("toxicLabels are the classifier's labels that mean toxic; set both or neither")
        if self.samples > 1 and self.temperature == 0:
            raise ValueError(
                f"samples is {self.samples}, and at temperature 0 all answers are the same; set a temperature"
            )
        return self


class RobustnessPart(ApiModel):
    """Questions with reference answers, asked as they are and with something changed."""

    uri: StorageUri = Field(description="JSON or JSONL file of questions with reference answers.")
    format: TextFormat = Field(
        default="promptCompletion",
        description="Shape of a record, as for training data; the completion is the reference. text has none and is "
        "refused.",
    )
    levels: tuple[Level, ...] = Field(
        default=("characters", "words", "sentences"),
        min_length=1,
        max_length=4,
        description="What is changed. characters: typing errors. words: words left out, exchanged and in capitals. "
        "sentences: a sentence before the question that has nothing to do with it. injections: a sentence after it "
        "that asks for something else.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    variants: int = Field(default=1, ge=1, le=16, description="How often each question is changed on each level.")
    metric: Literal["exactMatch", "f1"] = Field(default="f1", description="How answers are scored.")
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="Of the changes.")
    max_new_tokens: int = Field(default=64, ge=1, le=8192, description=_LONGEST)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.format == "text":
            raise ValueError("format text has no reference answers; use a format with a completion")
        if len(set(self.levels)) < len(self.levels):
            raise ValueError("levels names a level twice")
        return self


class BiasPart(ApiModel):
    """Pairs of sentences that differ in who they are about."""

    uri: StorageUri = Field(
        description="JSON or JSONL file of records of more (the stereotypical sentence), less (the same of another "
        "group) and optionally group, such as religion, of which there may be 32."
    )


class MemorisationPart(ApiModel):
    """What a model can say by heart."""

    uri: StorageUri | None = Field(default=None, description="JSON or JSONL file of records of the training data.")
    format: TextFormat = Field(default="text", description="Shape of a record, as for training data.")
    prefix_tokens: int = Field(
        default=50, ge=1, le=8192, description="Tokens of a record that the model is given; it writes the rest."
    )
    match_tokens: int = Field(
        default=50,
        ge=1,
        le=8192,
        description="Tokens that it must continue verbatim. Records that are shorter than both are left out.",
    )
    canaries: StorageUri | None = Field(
        default=None,
        description="JSON or JSONL file of secrets that were planted in the training data: records of prefix, what "
        "stands before the secret, and secret, some of whose characters are ASCII letters or digits.",
    )
    candidates: int = Field(
        default=1000,
        ge=10,
        le=100_000,
        description="Secrets of the same shape, drawn at random, that each canary is ranked among.",
    )
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="Of the random secrets.")

    @model_validator(mode="after")
    def _asks(self) -> Self:
        if self.uri is None and self.canaries is None:
            raise ValueError("set at least one of uri and canaries")
        return self


class SafetySuite(SuiteKind):
    """How the model behaves where it could do harm. Each part that is set is measured."""

    refusal: RefusalPart | None = Field(default=None, description="Whether it refuses what it should, and only that.")
    personal_data: PersonalDataPart | None = Field(default=None, description="Whether it gives personal data away.")
    toxicity: ToxicityPart | None = Field(default=None, description="Whether its answers are toxic.")
    robustness: RobustnessPart | None = Field(
        default=None, description="Whether it still answers when a question is changed."
    )
    bias: BiasPart | None = Field(
        default=None, description="Whether it finds stereotypes likelier. Needs a model's own probabilities."
    )
    memorisation: MemorisationPart | None = Field(
        default=None, description="What it knows by heart. Needs a model's own probabilities."
    )

    @property
    def needs_weights(self) -> bool:
        """Whether it asks for a model's own probabilities or tokens."""
        return self.bias is not None or self.memorisation is not None

    def metric_names(self) -> tuple[str, ...]:
        """Return the metrics that it gives for sure, by bare name."""
        names: list[str] = []
        if self.refusal:
            names += ["refusalRate"] if self.refusal.harmful else []
            names += ["overRefusalRate"] if self.refusal.harmless else []
        if self.personal_data:
            names.append("piiRate")
        if self.toxicity:
            names += ["toxicity"] if self.toxicity.samples == 1 else ["toxicity", "maxToxicity"]
        if self.robustness:
            names += ["robustness", *(f"{level}/robustness" for level in self.robustness.levels)]
        if self.bias:
            names += BIAS_METRICS
        if self.memorisation:
            names += ["extractionRate"] if self.memorisation.uri else []
            names += ["exposure"] if self.memorisation.canaries else []
        return tuple(names)

    def may_give(self, metric: str) -> bool:
        """Return whether it may give another metric, which depends on its records: bias against a group."""
        return self.bias is not None and of_some_part(metric, BIAS_METRICS)

    @model_validator(mode="after")
    def _has_part(self) -> Self:
        parts = [str(field.alias) for field in type(self).model_fields.values()]
        if all(getattr(self, name) is None for name in type(self).model_fields):
            raise ValueError(f"set at least one of {', '.join(parts[:-1])} and {parts[-1]}")
        return self
