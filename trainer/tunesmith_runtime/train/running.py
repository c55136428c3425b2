"""A training run from end to end: prepare the data, train, publish the model."""

from concurrent.futures import ThreadPoolExecutor

from tunesmith_api.contract import TrainResult, TrainRun
from tunesmith_api.finetunejob import PublishedModel
from tunesmith_runtime import storage
from tunesmith_runtime.data.sources import read_training_data
from tunesmith_runtime.models.lineage import LINEAGE, describe_model, model_digest
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.train import environment


def run(config: TrainRun, reporter: ProgressReporter) -> TrainResult:
    """Train and publish; return where the model is.

    What can be wrong with the input is looked for before the slow imports. Raises RunError.
    """
    reporter.update(state="Running", stage="reading the data")
    target = storage.destination(config.output.uri, LINEAGE)
    storage.ensure_writable(config.checkpoints.uri)
    base = storage.model_path(config.model)
    records = read_training_data(config.data)
    environment.prepare(config)

    from tunesmith_runtime.data.preparing import prepare
    from tunesmith_runtime.models.loading import load_tokenizer
    from tunesmith_runtime.train import inputs, raytrain

    reporter.update(stage="preparing the data")
    data = prepare(config.data, load_tokenizer(base), records)
    reporter.update(data=data.summary, stage="loading the model")
    with (
        target.published(f"-{config.run.attempt}") as staged,
        ThreadPoolExecutor(1) as pool,
        storage.workspace(config.checkpoints.uri, ".data-") as folder,
    ):
        # This reads the whole base model: beside training, not before it.
        base_digest = pool.submit(model_digest, base)
        saved = inputs.save(data.train, data.validation, config.data, data.digests, folder)
        with inputs.shared(saved, config) as data_of_all:
            raytrain.train(config, data_of_all, staged, reporter)
        reporter.update(stage="publishing the model")
        digest = describe_model(
            staged,
            config,
            base_digest=base_digest.result(),
            data_digests=data.digests,
            summary=data.summary,
            progress=reporter.read().training,
        )
    adapter = config.method.adapter.type != "full"
    return TrainResult(model=PublishedModel(uri=config.output.uri, digest=digest, adapter=adapter))
