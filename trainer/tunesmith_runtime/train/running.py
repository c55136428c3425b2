"""A training run from end to end: prepare the data, train, publish the model."""

import time
from concurrent.futures import ThreadPoolExecutor

from tunesmith_api.contract import TrainResult, TrainRun
from tunesmith_api.finetunejob import PublishedModel
from tunesmith_runtime import storage
from tunesmith_runtime.data.feedback import Feedback
from tunesmith_runtime.data.judging import Judging
from tunesmith_runtime.data.sources import read_training_data
from tunesmith_runtime.models.lineage import ADAPTER, LINEAGE, describe_model, model_digest
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.train import compiling, environment
from tunesmith_runtime.train.domain.rows import add_domain, read_domain
from tunesmith_runtime.train.measurable import check_suites, read_suites
from tunesmith_runtime.train.recovery import leftovers
from tunesmith_runtime.train.recovery.attempt import Attempt
from tunesmith_runtime.train.recovery.hanging import HangWatch
from tunesmith_runtime.train.recovery.pod import PodFiles


def run(config: TrainRun, reporter: ProgressReporter) -> TrainResult:
    """Train and publish; return where the model is.

    What can be wrong with the input is looked for before the slow imports. Raises RunError.
    """
    began = time.monotonic()
    reporter.update(state="Running", stage="reading the data")
    pod = PodFiles.of(config.run)
    pod.clear()
    watch = HangWatch(config.limits.progress_timeout_seconds, reporter, pod)
    with watch.watching():
        return _run(config, reporter, watch, began)


def _run(config: TrainRun, reporter: ProgressReporter, watch: HangWatch, began: float) -> TrainResult:
    compiling.check(config)
    target = storage.destination(config.output.uri, LINEAGE)
    storage.ensure_writable(config.checkpoints.uri)
    base = storage.model_path(config.model)
    judging = Judging(config.data.judge, config.checkpoints.uri, reporter) if config.data.judge else None
    feedback = Feedback(config.method.type, config.checkpoints.uri)
    records, of_domain = read_training_data(config.data, judging, feedback), read_domain(config, judging)
    suites = read_suites(config)
    environment.prepare(config)

    from tunesmith_runtime.data.preparing import prepare
    from tunesmith_runtime.models.adapters import check_adapter
    from tunesmith_runtime.models.loading import load_tokenizer
    from tunesmith_runtime.models.tasks import infer_task
    from tunesmith_runtime.train import inputs, raytrain, recipes, report
    from tunesmith_runtime.train.history import history_file
    from tunesmith_runtime.train.tuning.choosing import Trained, tune

    formats = {source.format for source in config.data.train}
    task = infer_task(base, formats, config.method.type, config.task)
    recipe = recipes.find(task, config.method.type)
    check_suites(suites, task, base)
    check_adapter(base, config.method.adapter, task, reward=config.method.type == "rm")
    leftovers.delete(config)
    reporter.update(stage="preparing the data")
    with (
        target.published(leftovers.staging_tag(config.run.attempt)) as staged,
        ThreadPoolExecutor(1) as pool,
        storage.workspace(config.checkpoints.uri, leftovers.data_prefix(config.run.attempt)) as folder,
    ):
        # This reads the whole base model: beside the other work, not before it.
        base_digest = pool.submit(model_digest, base)
        tokenizer = load_tokenizer(base, task)
        data = prepare(config.data, recipe, tokenizer, records, folder)
        saved = inputs.save(data, config, recipe, folder)
        if of_domain:
            data, saved = add_domain(config, recipe, tokenizer, of_domain, data, saved, folder)
        reporter.update(data=judging.counted(data.summary) if judging else data.summary, stage="loading the model")
        with inputs.shared(saved, config) as data_of_all:
            limit = config.limits.seconds
            attempt = Attempt(ends_at=None if limit is None else began + limit)
            if config.tuning:
                trained = tune(config, data_of_all, staged, reporter, attempt)
            else:
                outcome = raytrain.train(config, data_of_all, staged, reporter, attempt, watch)
                trained = Trained(config, reporter.read(), outcome)
        reporter.update(stage="publishing the model")
        digest = describe_model(
            staged,
            trained.config,
            base_digest=base_digest.result(),
            data_digests=data.digests,
            summary=reporter.read().data or data.summary,
            progress=trained.document.training,
            best=trained.document.best,
            tuning=reporter.read().tuning,
            partial=trained.outcome if trained.outcome.partial else None,
        )
        report.publish(history_file(trained.config.checkpoints.uri), staged)
        adapter = (staged / ADAPTER).is_dir() or (staged / "adapter_config.json").is_file()
    published = PublishedModel(uri=config.output.uri, digest=digest, adapter=adapter, partial=trained.outcome.partial)
    return TrainResult(model=published)
