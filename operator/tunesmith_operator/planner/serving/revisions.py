"""Which revisions there are, and which one is wanted."""

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime

from tunesmith_api import uris
from tunesmith_api.finetunejob import PublishedModel
from tunesmith_api.modelserve import ModelServeStatus
from tunesmith_api.resources import ModelServe
from tunesmith_api.serving.revision import Revision, RevisionState, RevisionTemplate, ServedAdapter
from tunesmith_operator.planner.serving.commands import Commands


def template_of(serve: ModelServe, model: PublishedModel, adapters: Sequence[ServedAdapter] = ()) -> RevisionTemplate:
    """Return what a revision of the spec as it is would be made of."""
    spec = serve.spec
    return RevisionTemplate(
        model=model,
        adapters=tuple(adapters),
        engine=spec.engine,
        prompt=spec.prompt,
        model_cache=spec.model_cache,
        resources=spec.resources,
        pod_template=spec.pod_template,
        secret_refs=spec.secret_refs,
    )


def fingerprint(template: RevisionTemplate) -> str:
    """Return what two templates share only when they are the same. Defaults count as absent, for later versions."""
    plain = template.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def same(one: RevisionTemplate, other: RevisionTemplate) -> bool:
    """Return whether two templates make the same revision."""
    return fingerprint(one) == fingerprint(other)


def takes(revision: Revision, wanted: RevisionTemplate) -> bool:
    """Return whether a revision is what is wanted, or can become that as it runs, when only adapters come and go.

    The built-in engine loads and unloads them. An adapter that is another by now, under a name that clients use, is a
    change of what answers them; and one on a claim that the pods do not have needs other pods.
    """
    if same(revision.now, wanted):
        return True
    bare = {"adapters": ()}
    if not loads_adapters(wanted):
        return False
    if not same(revision.template.model_copy(update=bare), wanted.model_copy(update=bare)):
        return False
    known = {each.name: each for each in (*revision.template.adapters, *revision.now.adapters)}
    if any(known.get(each.name, each) != each for each in wanted.adapters):
        return False
    return _claims(wanted) <= _claims(revision.template)


def loads_adapters(template: RevisionTemplate) -> bool:
    """Return whether what answers loads and unloads adapters as it runs: the built-in engine does."""
    return template.engine.type == "transformers"


def _claims(template: RevisionTemplate) -> set[str]:
    found = (template.model.uri, *(each.uri for each in template.adapters))
    return {uris.split(uri).authority for uri in found if uri.startswith("pvc://")}


def given(status: ModelServeStatus, revision: Revision, wanted: RevisionTemplate) -> ModelServeStatus:
    """Return the status in which a revision has the adapters that are wanted."""
    adapters = None if wanted.adapters == revision.template.adapters else wanted.adapters
    return marked(status, revision.number, revision.state, adapters=adapters)


def find(status: ModelServeStatus, number: int | None) -> Revision | None:
    """Return the revision of a number, if it is remembered."""
    return next((each for each in status.revisions if each.number == number), None)


def serving(status: ModelServeStatus) -> Revision | None:
    """Return the revision that serves."""
    return next((each for each in reversed(status.revisions) if each.state == "Promoted"), None)


def rolling_out(status: ModelServeStatus) -> Revision | None:
    """Return the revision that is rolled out."""
    found = find(status, status.rollout.revision) if status.rollout else None
    return found if found and found.state == "RollingOut" else None


def undone_to(status: ModelServeStatus, commands: Commands) -> RevisionTemplate | None:
    """Return what a person wants back in place of the spec."""
    found = find(status, commands.undo_to)
    return found.now if found else None


def remember(
    status: ModelServeStatus, template: RevisionTemplate, generation: int, now: datetime
) -> tuple[ModelServeStatus, Revision]:
    """Return the status with a new revision, and that one."""
    revision = Revision(number=status.revision + 1, generation=generation, created_at=now, template=template)
    return (
        status.model_copy(update={"revision": revision.number, "revisions": (*status.revisions, revision)}),
        revision,
    )


def marked(status: ModelServeStatus, number: int, state: RevisionState, **changes: object) -> ModelServeStatus:
    """Return the status in which a revision is in another state."""
    revisions = tuple(
        each.model_copy(update={"state": state, **changes}) if each.number == number else each
        for each in status.revisions
    )
    return status.model_copy(update={"revisions": revisions})


def bounded(status: ModelServeStatus, limit: int) -> tuple[ModelServeStatus, tuple[str, ...]]:
    """Return the status with `limit` revisions that are over, and the names of the EvalJobs of those that went.

    The one that is refused stays.
    """
    over = [each for each in status.revisions if each.state not in {"Promoted", "RollingOut"}]
    dropped = [each for each in over[: max(0, len(over) - limit)] if each.number != status.refused]
    if not dropped:
        return status, ()
    revisions = tuple(each for each in status.revisions if each not in dropped)
    names = tuple(evaluation.name for each in dropped for evaluation in each.evaluations)
    return status.model_copy(update={"revisions": revisions}), names


def adopted(serve: ModelServe, now: datetime) -> ModelServeStatus:
    """Return the status of a ModelServe, with the revision that an operator before there were revisions has left."""
    status = serve.status
    if status.revisions or status.serving is None or status.revision < 1:
        return status
    left = Revision(
        number=status.revision,
        generation=status.observed_generation,
        created_at=now,
        promoted_at=now,
        state="Promoted",
        template=template_of(serve, status.serving),
    )
    return status.model_copy(update={"revisions": (left,)})
