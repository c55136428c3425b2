"""Documents that answers are given from."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from tunesmith_api.base import ApiModel, FolderUri
from tunesmith_api.endpoint import EndpointUrl, SecretKey

OVERLAP_TOO_LONG = "chunks.overlap must be less than chunks.size"
OnFailure = Literal["proceed", "refuse"]

_Prefix = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class Documents(ApiModel):
    """A file or a folder of documents."""

    uri: FolderUri = Field(
        description="A file, or a folder with all below it, such as pvc://data/handbook. Read are .txt, .md, .html, "
        ".pdf, and .jsonl with a field `text` in each line."
    )


class Chunks(ApiModel):
    """How documents are cut."""

    size: int = Field(
        default=1200, ge=100, le=20_000, description="Characters of a chunk at most; it ends where a sentence does."
    )
    overlap: int = Field(
        default=150, ge=0, le=10_000, description="Characters at most that a chunk repeats of the one before it."
    )

    @model_validator(mode="after")
    def _goes_on(self) -> Self:
        if self.overlap >= self.size:
            raise ValueError(OVERLAP_TOO_LONG)
        return self


class Embeddings(ApiModel):
    """A model that says what texts mean, behind an OpenAI-compatible endpoint."""

    url: EndpointUrl = Field(description="Base URL of the endpoint, such as http://encoder.default.svc:8000/v1.")
    model: Annotated[str, StringConstraints(min_length=1, max_length=256)] = Field(
        description="Name of the model there. Another name makes another index."
    )
    api_key_secret_ref: SecretKey | None = Field(
        default=None,
        description="Where its API key is kept. The local shell takes it from the environment variable "
        "TUNESMITH_KEY_NAME__KEY, all in capitals and with _ for all but letters and digits.",
    )
    query_prefix: _Prefix | None = Field(
        default=None, description="What is put before a question, where the model was trained so, such as `query: `."
    )
    chunk_prefix: _Prefix | None = Field(
        default=None, description="What is put before a chunk, where the model was trained so, such as `passage: `."
    )


class Retrieval(ApiModel):
    """Passages that fit the last question are put before a chat's messages, and the answer comes with citations."""

    documents: tuple[Documents, ...] = Field(
        min_length=1,
        max_length=32,
        description="What is looked through.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    chunks: Chunks = Field(default=Chunks(), description="How documents are cut into passages.")
    embeddings: Embeddings | None = Field(
        default=None, description="What embeds passages and questions. By default the model that is served itself."
    )
    index_uri: FolderUri | None = Field(
        default=None,
        description="Folder that keeps the index, for all gateways. By default it is beside the first of the "
        "documents, under its name with -index.",
    )
    top_k: int = Field(default=4, ge=1, le=20, description="Passages that a chat gets at most.")
    min_score: float = Field(
        default=0.3, ge=-1, le=1, description="Least cosine similarity of a passage to the question."
    )
    timeout_seconds: int = Field(default=10, ge=1, le=120, description="How long looking for passages may take.")
    refresh_seconds: int = Field(
        default=300,
        ge=5,
        le=86_400,
        description="How often it is looked whether the documents have changed. The old index serves until the new "
        "one is there.",
    )
    on_failure: OnFailure = Field(
        default="proceed",
        description="What becomes of a chat while there is no index, or the question cannot be embedded. proceed: it "
        "is answered without passages. refuse: status 503.",
    )

    @property
    def index(self) -> str:
        """The folder of the index."""
        return self.index_uri or f"{self.documents[0].uri.rstrip('/')}-index"

    @property
    def uris(self) -> tuple[str, ...]:
        """The storage that it names."""
        return (*(each.uri for each in self.documents), self.index)
