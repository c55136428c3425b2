"""What a model learns from: datasets, how they are mixed, cleaned and cut into token sequences."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from tunesmith_api import uris
from tunesmith_api.base import ApiModel, ItemName
from tunesmith_api.judging import Judge

# Formats whose records are a prompt and an answer, or text: what evaluations read.
TextFormat = Literal["alpaca", "dolly", "squad", "messages", "sharegpt", "promptCompletion", "text"]
DataFormat = Literal[
    "alpaca",
    "dolly",
    "squad",
    "messages",
    "sharegpt",
    "promptCompletion",
    "text",
    "preference",
    "pairs",
    "kto",
    "feedback",
    "textClassification",
    "tokenClassification",
]
# A file, a folder or a glob pattern; on the Hub, a dataset; what people said of a ModelServe's answers.
DataUri = Annotated[
    str,
    StringConstraints(
        min_length=1,
        max_length=1024,
        pattern=r"^((hf|pvc|s3|file)://[A-Za-z0-9._~@%+=,/*?\[\]-]+|modelserve://[a-z0-9]([-a-z0-9]*[a-z0-9])?/feedback)$",
    ),
    AfterValidator(uris.checked),
]
ColumnName = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Language = Annotated[str, StringConstraints(min_length=2, max_length=2, pattern=r"^[a-z]+$")]


class DatasetSource(ApiModel):
    """Records of one format."""

    uri: DataUri = Field(
        description="pvc://CLAIM/PATH, s3://BUCKET/KEY or file:///PATH (local shell only) of a file, a folder or a "
        "glob pattern (data/*.parquet), or hf://ORG/NAME[/CONFIGURATION][@REVISION] of a dataset on the Hugging Face "
        "Hub. Files are JSON, JSONL, CSV, Parquet or Arrow, told apart by what they hold; .gz, .bz2, .xz and .zst are "
        "unpacked. With format feedback, modelserve://NAME/feedback is what people said of the answers of a ModelServe "
        "of the same namespace."
    )
    format: DataFormat = Field(
        description="Shape of a record. alpaca: instruction, input, output. dolly: instruction, context, response, "
        "category. squad: SQuAD 1.1 or 2.0, as published or one question to a row. messages: chat messages with role "
        "and content. sharegpt: conversations with from and value. promptCompletion: prompt, completion. text: text. "
        "preference: prompt, chosen, rejected. pairs: prompt, and answerA and answerB or a list of two responses; "
        "data.judge says which is better. kto: prompt, completion, label. feedback: messages (or prompt and "
        "completion), rating from -1 to 1, optionally correction; or the folder that a ModelServe captures to. "
        "textClassification: text, optionally text_pair, label. tokenClassification: tokens, tags."
    )
    split: Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")] | None = Field(
        default=None, description="hf:// only: the split to read. Default: train."
    )
    columns: dict[ColumnName, ColumnName] = Field(
        default={},
        max_length=16,
        description="The file's own names of the format's columns: {messages: turns} reads the column turns as "
        "messages.",
    )


class Dataset(DatasetSource):
    """A named training dataset."""

    name: ItemName = Field(description="Name in status, progress and lineage.")
    weight: float | None = Field(
        default=None,
        gt=0,
        le=1_000_000,
        description="Share of this dataset in an epoch, relative to the weights of the others (3, 6 and 1 give 30%, "
        "60% and 10%). Every record is seen at least once in an epoch, those of small datasets with a large weight "
        "several times. All datasets have a weight or none; without, each record is seen once.",
    )


class Mixing(ApiModel):
    """How datasets share an epoch."""

    by: Literal["records", "tokens"] = Field(
        default="records", description="Whether the shares are counted in records or in tokens."
    )
    temperature: float | None = Field(
        default=None,
        ge=1,
        le=100,
        description="Instead of weights: shares are proportional to size^(1/temperature). 1 keeps the sizes, more "
        "brings small datasets up.",
    )


class Quality(ApiModel):
    """What is done to the training records before they are used; every step counts what it took out."""

    deduplicate: Literal["none", "exact", "near"] = Field(
        default="none",
        description="exact: of records with the same text (case and white space apart) the first is kept, over all "
        "datasets. near: of those with nearly the same words too, found by MinHash.",
    )
    near_similarity: float = Field(
        default=0.8,
        ge=0.5,
        le=1,
        description="Jaccard similarity of word 5-grams from which records are near duplicates: that of all their "
        "texts, and that of their answers alone.",
    )
    redact_pii: bool = Field(
        default=False,
        description="Replace e-mail addresses, phone, card and account numbers, IP addresses and the like by their "
        "kind in brackets: [EMAIL_ADDRESS].",
    )
    languages: tuple[Language, ...] = Field(
        default=(),
        max_length=32,
        description="ISO 639-1 codes of the languages to keep, such as en and de; none keeps all. A record whose "
        "language cannot be told, such as a short one, is kept.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    min_characters: int | None = Field(
        default=None, ge=1, description="Records with fewer characters in all their texts are left out."
    )
    max_characters: int | None = Field(
        default=None, ge=1, description="Records with more characters in all their texts are left out."
    )
    decontaminate_against: tuple[DatasetSource, ...] = Field(
        default=(),
        max_length=16,
        description="Evaluation sets: training records that share a run of decontaminationNgram words with one of "
        "their records are left out.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    decontamination_ngram: int = Field(
        default=13, ge=3, le=50, description="Words in a row, case and punctuation apart, that count as overlap."
    )

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.min_characters and self.max_characters and self.min_characters > self.max_characters:
            raise ValueError(
                f"minCharacters is {self.min_characters} and maxCharacters {self.max_characters}: nothing is left "
                f"between"
            )
        return self


class ValidationData(ApiModel):
    """The records that loss is measured on but never trained on."""

    fraction: float | None = Field(
        default=None, gt=0, le=0.5, description="Share of the training records to hold out, chosen by `data.seed`."
    )
    dataset: DatasetSource | None = Field(default=None, description="A dataset of its own.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.fraction is None) == (self.dataset is None):
            raise ValueError("set exactly one of fraction and dataset")
        return self


class TrainingData(ApiModel):
    """What to train on, and how records become token sequences."""

    train: tuple[Dataset, ...] = Field(
        min_length=1,
        max_length=64,
        description="Datasets, trained on together.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    mixing: Mixing = Field(default=Mixing(), description="How the datasets share an epoch.")
    quality: Quality = Field(default=Quality(), description="What is left out or changed beforehand.")
    validation: ValidationData | None = Field(default=None, description="What to measure the evaluation loss on.")
    judge: Judge | None = Field(
        default=None, description="Who says which answer is better in datasets of format pairs, before all else."
    )
    max_length: int = Field(
        default=1024, ge=8, le=1_048_576, description="Longest record in tokens, chat template included."
    )
    overlong: Literal["drop", "truncate", "split"] | None = Field(
        default=None,
        description="What happens to a longer record: drop leaves it out, truncate cuts its end off, split cuts it "
        "into several. Each is counted in status.data; a part without a token that loss counts is left out. Default: "
        "drop; for method pt split.",
    )
    packing: Literal["none", "bfd"] = Field(
        default="none",
        description="bfd puts several records into one sequence of up to maxLength tokens (best-fit decreasing), "
        "each with positions and attention of its own; a step then sees more records. none pads every batch to "
        "its longest record.",
    )
    length_buckets: tuple[Annotated[int, Field(ge=8, le=1_048_576)], ...] = Field(
        default=(),
        max_length=32,
        description="Lengths in tokens, ascending, the last one maxLength. A batch holds records of one bucket, the "
        "smallest that fits them, and as many as have the tokens of perDeviceTrainBatchSize records of maxLength.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    seed: int = Field(default=42, ge=0, le=4_294_967_295, description="Seed of the validation split and of the mix.")

    @model_validator(mode="after")
    def _unique_names(self) -> Self:
        names = [dataset.name for dataset in self.train]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"train has more than one dataset named {', '.join(twice)}")
        return self
