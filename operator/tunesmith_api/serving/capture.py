"""What is kept of requests and answers."""

from typing import Literal

from pydantic import Field

from tunesmith_api.base import ApiModel, FolderUri

CaptureFormat = Literal["jsonl", "parquet"]


class Capture(ApiModel):
    """Requests, their answers and what people say of them are written to storage."""

    uri: FolderUri = Field(description="Folder below which the files are written, such as pvc://data/traffic.")
    sample: float = Field(
        default=1.0, ge=0, le=1, description="Share of the requests that is kept; feedback is always kept."
    )
    redact_pii: bool = Field(
        default=True, description="Replace e-mail addresses, telephone numbers and other personal data by their kind."
    )
    format: CaptureFormat = Field(default="jsonl", description="What the files are.")
