"""Tasks of lm-evaluation-harness."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Self

from pydantic import Field, JsonValue, StringConstraints, model_validator

from tunesmith_api.base import ApiModel, StorageUri
from tunesmith_api.suites.kind import SuiteKind

# A task, group or tag: the packaged ones use no other characters.
TaskName = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.()-]*$")]
_AS_IN_LM_EVAL: dict[str, JsonValue] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_SET: dict[str, JsonValue] = {"x-kubernetes-list-type": "set"}


class InlineTask(ApiModel):
    """A task that stands in the spec itself."""

    name: TaskName = Field(description="Name, for tasks. It comes before a task of the same name from elsewhere.")
    config: dict[str, Any] = Field(
        max_length=64,
        description="The fields of lm-eval's task YAML, such as dataset_path and doc_to_text, or those of a group. "
        "data_files may be URIs. include names a task whose fields these are laid over.",
        json_schema_extra=_AS_IN_LM_EVAL,
    )


class HarnessSuite(SuiteKind):
    """Tasks of lm-evaluation-harness (lm-eval), the packaged ones or your own."""

    tasks: tuple[TaskName, ...] = Field(
        min_length=1,
        max_length=64,
        description="Tasks, groups and tags: those of inlineTasks, of taskUris, and those that lm-eval packages.",
        json_schema_extra=_SET,
    )
    num_fewshot: int | None = Field(
        default=None,
        ge=0,
        le=100,
        description="Examples before each question. Default: the task's own number. A task that says 0 keeps it.",
    )
    limit: int | None = Field(
        default=None, ge=1, le=1_000_000, description="Only so many samples of each task, the first ones. Default: all."
    )
    apply_chat_template: bool = Field(
        default=False, description="Put questions as turns of a chat. An endpoint always gets them so."
    )
    system_instruction: Annotated[str, StringConstraints(min_length=1, max_length=16384)] | None = Field(
        default=None, description="What comes before everything else, in a chat as the system's turn."
    )
    task_uris: tuple[StorageUri, ...] = Field(
        default=(),
        max_length=16,
        description="Files of lm-eval's task YAML, or folders with them (*.yaml, at any depth). Relative data_files in "
        "a YAML lie beside it.",
        json_schema_extra=_SET,
    )
    inline_tasks: tuple[InlineTask, ...] = Field(
        default=(),
        max_length=64,
        description="Tasks that stand here.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )

    runs_code: bool = Field(
        default=False,
        description="Tasks may bring Python (!function, class, and the like) and run what the model writes. They are "
        "then measured in a pod of their own that has no network and no secrets, where the cluster's admin allows "
        "code (allowTaskCode). Models, data and report must lie on pvc://.",
    )

    @property
    def data_uris(self) -> tuple[str, ...]:
        """The URIs that it reads: of task YAML, and of the data of inline tasks."""
        return (*self.task_uris, *_uris([each.config.get("dataset_kwargs") for each in self.inline_tasks]))

    def metric_names(self) -> tuple[str, ...]:
        """Return nothing: which metrics a task has is only known where it is read."""
        return ()

    def may_give(self, metric: str) -> bool:
        """Return whether it may give a metric by bare name: any TASK/METRIC, as tasks may be groups of others."""
        return metric.count("/") == 1

    @model_validator(mode="after")
    def _no_name_twice(self) -> Self:
        _distinct("tasks", self.tasks)
        _distinct("taskUris", self.task_uris)
        _distinct("inlineTasks", [each.name for each in self.inline_tasks])
        return self


def _uris(value: Any) -> Iterator[str]:
    if isinstance(value, str) and "://" in value:
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _uris(item)


def _distinct(field: str, values: Sequence[str]) -> None:
    if twice := sorted({value for value in values if list(values).count(value) > 1}):
        raise ValueError(f"{field} names {', '.join(twice)} more than once")
