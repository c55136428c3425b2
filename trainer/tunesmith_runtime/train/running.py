"""A training run from end to end: prepare the data, train, publish the model."""

from concurrent.futures import ThreadPoolExecutor

from tunesmith_api.contract import TrainResult, TrainRun
from tunesmith_api.finetunejob import PublishedModel
from tunesmith_runtime import storage
from tunesmith_runtime.data.sources import read_training_data
from tunesmith_runtime.models.lineage import ADAPTER, LINEAGE, describe_model, model_digest
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
    from tunesmith_runtime.models.adapters import check_adapter
    from tunesmith_runtime.models.loading import load_tokenizer
    from tunesmith_runtime.models.tasks import infer_task
    from tunesmith_runtime.train import inputs, raytrain, recipes, report
    from tunesmith_runtime.train.history import history_file

    formats = {source.format for source in config.data.train}
    task = infer_task(base, formats, config.method.type, config.task)
    recipe = recipes.find(task, config.method.type)
    check_adapter(base, config.method.adapter, task, reward=config.method.type == "rm")
    reporter.update(stage="preparing the data")
    with (
        target.published(f"-{config.run.attempt}") as staged,
        ThreadPoolExecutor(1) as pool,
        storage.workspace(config.checkpoints.uri, ".data-") as folder,
    ):
        # This reads the whole base model: beside the other work, not before it.
        base_digest = pool.submit(model_digest, base)
        data = prepare(config.data, recipe, load_tokenizer(base, task), records, folder)
        reporter.update(data=data.summary, stage="loading the model")
        saved = inputs.save(data, config, recipe, folder)
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
        report.publish(history_file(config.checkpoints.uri), staged)
        adapter = (staged / ADAPTER).is_dir() or (staged / "adapter_config.json").is_file()
    return TrainResult(model=PublishedModel(uri=config.output.uri, digest=digest, adapter=adapter))
