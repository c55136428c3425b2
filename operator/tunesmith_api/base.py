"""What every model of the API shares: camelCase names, strict types, immutability."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from tunesmith_api import uris

GROUP = "tunesmith.dev"
VERSION = "v1alpha1"
API_VERSION: Literal["tunesmith.dev/v1alpha1"] = "tunesmith.dev/v1alpha1"

Kind = Literal["FineTuneJob", "EvalJob", "ModelServe"]


class ApiModel(BaseModel):
    """A part of a spec: unknown fields are refused and values are never coerced."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
    )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values under the names that users write, without unset optional fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class StatusModel(ApiModel):
    """A part of a status or of a progress document: fields of a newer version are passed over."""

    model_config = ConfigDict(extra="ignore")


def _with_zone(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)


# A time of a status. One without a zone, as people write them by hand, is UTC.
Time = Annotated[datetime, AfterValidator(_with_zone)]
# Shorter than a DNS label (63), so that children can carry a suffix such as `-a12-workers`.
ResourceName = Annotated[
    str, StringConstraints(min_length=1, max_length=52, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
]
# What Kubernetes allows for the names of a namespace, a volume or a container.
DnsLabel = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
# What Kubernetes allows for the names of most other objects.
ObjectName = Annotated[
    str, StringConstraints(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
]
# The name of an item of a list, such as a dataset or a suite.
ItemName = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
# The part of a URI after the scheme is kept to characters that no shell, manifest or file system trips over.
_REST = r"[A-Za-z0-9._~@%+=,/-]+"
ModelUri = Annotated[
    str,
    StringConstraints(min_length=1, max_length=1024, pattern=rf"^(hf|pvc|s3|file|finetunejob)://{_REST}$"),
    AfterValidator(uris.checked),
]
# A model that is there as files: what a `ModelUri` becomes once a `finetunejob://` is resolved.
StorageUri = Annotated[
    str,
    StringConstraints(min_length=1, max_length=1024, pattern=rf"^(pvc|s3|file)://{_REST}$"),
    AfterValidator(uris.checked),
]
# A folder that is put in its place as a whole, so it must lie inside a claim or bucket and cannot be one.
FolderUri = Annotated[
    str,
    StringConstraints(min_length=1, max_length=1024, pattern=rf"^((pvc|s3)://[A-Za-z0-9.-]+|file://)/{_REST}$"),
    AfterValidator(uris.checked),
]
# A Kubernetes quantity: 2, "500m", "16Gi".
Quantity = Annotated[
    int | Annotated[str, StringConstraints(max_length=32, pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$")],
    Field(json_schema_extra={"x-kubernetes-int-or-string": True}),
]


class ModelSource(ApiModel):
    """Where a model comes from."""

    uri: ModelUri = Field(
        description="hf://ORG/NAME[@REVISION], pvc://CLAIM/PATH, s3://BUCKET/KEY, file:///PATH (local shell only) or "
        "finetunejob://NAME for the model that a FineTuneJob of the same namespace publishes."
    )


class Resources(ApiModel):
    """What a pod asks for."""

    gpu: int = Field(default=0, ge=0, le=64, description="GPUs of each pod (nvidia.com/gpu).")
    cpu: Quantity | None = Field(default=None, description="CPU request and limit of each pod, such as 4 or 500m.")
    memory: Quantity | None = Field(default=None, description="Memory request and limit of each pod, such as 16Gi.")


# Ten years.
LONGEST_SECONDS = 315_360_000


class RunPolicy(ApiModel):
    """How often and how long a run is tried, and how long it is kept afterwards. May change at any time."""

    max_attempts: int = Field(
        default=3,
        ge=1,
        le=20,
        description="Attempts before the resource counts as failed. Errors in the input fail at once and are not "
        "tried again; an attempt that was suspended, or interrupted by stopping the local shell, does not count.",
    )
    active_deadline_seconds: int | None = Field(
        default=None,
        ge=1,
        le=LONGEST_SECONDS,
        description="Seconds from the first attempt's start, over all attempts and the waiting between them, after "
        "which the job has failed. Time that it is suspended does not count. Default: none.",
    )
    ttl_seconds_after_finished: int | None = Field(
        default=None,
        ge=0,
        le=LONGEST_SECONDS,
        description="Seconds after its end at which the resource itself is deleted, with its pods, logs and history; "
        "what it has published stays. The local shell does not do this. Default: it is kept.",
    )
