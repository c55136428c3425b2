"""Which captured files a run reads: those that were there when its first attempt began.

A gateway goes on writing while a run trains, and a later attempt has to see what the first one saw. So the first one
writes down the names of the files beside its checkpoints, before it reads them; files appear whole and never change.
"""

import json

from tunesmith_api.uris import join
from tunesmith_runtime import storage
from tunesmith_runtime.data.files import is_data
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.storage import FileSet, texts

_SHOWN = 3


def fixed_files(uri: str, name: str, checkpoints: str | None) -> FileSet:
    """Return the files below `uri` that dataset `name` of a run consists of; `checkpoints` is where the run keeps its.

    Without checkpoints they are all that are there now. Raises DataError.
    """
    if checkpoints is None:
        return storage.data_files(uri, is_data)
    place = join(checkpoints, f"feedback-{name}.json")
    written = texts.read_text(place)
    if written is None:
        files = storage.data_files(uri, is_data)
        names = [each.name for each in files.files]
        texts.write_text(json.dumps({"uri": uri, "files": names}), place)
        return files
    first = json.loads(written)
    if first["uri"] != uri:
        raise DataError(
            f"the first attempt read the feedback below {first['uri']}, and it is kept below {uri} now; change that "
            "back, or create the job anew"
        )
    chosen = set(first["files"])
    files = storage.data_files(uri, chosen.__contains__)
    if gone := sorted(chosen - {each.name for each in files.files}):
        raise DataError(
            f"{uri}: {len(gone)} files that the first attempt read are gone, such as {', '.join(gone[:_SHOWN])}; put "
            "them back, or create the job anew"
        )
    return files
