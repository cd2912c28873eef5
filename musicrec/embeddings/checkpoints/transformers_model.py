"""Models that ship with transformers, read from a folder as the hub has it: configuration, feature extractor, weights.

Only what is part of transformers runs: a folder that asks for code of its own (`auto_map`) is refused, and weights are
read by `load.read`, which executes nothing. transformers is imported in the functions, because it takes seconds and
neither `--help` nor training on extracted vectors needs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from musicrec.embeddings.checkpoints import load as checkpoints
from musicrec.errors import MusicrecError, first_line

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CONFIGURATION = (("config.json",), ("preprocessor_config.json",))
WEIGHTS = ("model.safetensors", "pytorch_model.bin", "model.safetensors.index.json", "pytorch_model.bin.index.json")
FILES = (*CONFIGURATION, WEIGHTS)
# What the text side of a model needs besides.
TOKENIZER = (("tokenizer.json",), ("tokenizer_config.json",))
# Of pre-training only; published checkpoints of tasks lack it.
_DISPENSABLE = ("masked_spec_embed",)


def refuse_remote_code(folder: Path) -> None:
    """Refuses a folder whose configuration names code to be downloaded and executed.

    Raises:
        MusicrecError: it has an `auto_map`.
    """
    for (name,) in (*CONFIGURATION, TOKENIZER[1]):
        if "auto_map" in checkpoints.read_config(folder / name):
            raise MusicrecError(
                f"{folder / name} has an auto_map: the model needs code from its repository, which is never executed "
                "here; models that are part of transformers work, others need a class of their own in musicrec"
            )


def read_extractor(folder: Path) -> Any:
    """Returns the feature extractor that `preprocessor_config.json` describes.

    Raises:
        MusicrecError: it is missing, needs remote code, or transformers has no such extractor.
    """
    from transformers import AutoFeatureExtractor  # noqa: PLC0415 - see the module's docstring

    source = checkpoints.find_file(folder, "preprocessor_config.json")
    checkpoints.read_config(source)
    refuse_remote_code(folder)
    try:
        with _quiet():
            return AutoFeatureExtractor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ValueError, OSError, TypeError, KeyError, AttributeError, ImportError) as error:
        raise MusicrecError(
            f"{source}: transformers has no such audio feature extractor ({first_line(error)})"
        ) from None


def read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Returns the tokenizer that `tokenizer.json` describes.

    Raises:
        MusicrecError: it is missing or damaged, or needs remote code.
    """
    from transformers import AutoTokenizer  # noqa: PLC0415 - see the module's docstring

    source = checkpoints.find_file(folder, "tokenizer.json")
    refuse_remote_code(folder)
    try:
        with _quiet():
            return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises the class Exception itself
        raise MusicrecError(f"{source} is not a tokenizer that transformers can read ({first_line(error)})") from None


def read_model(path: Path) -> tuple[PreTrainedModel, Path]:
    """Returns a model in float32 for inference, and the file its weights were read from.

    Args:
        path: folder with `config.json` and one of `WEIGHTS`, or the latter.

    Raises:
        MusicrecError: a file is missing, damaged, needs remote code or does not fit; or transformers has no such model.
    """
    from transformers import MODEL_MAPPING, AutoConfig  # noqa: PLC0415 - see the module's docstring

    weights = path if path.is_file() else checkpoints.find_file(path, *WEIGHTS)
    source = checkpoints.find_file(path, "config.json")
    kind = checkpoints.read_config(source).get("model_type")
    refuse_remote_code(source.parent)
    try:
        with _quiet():
            config = AutoConfig.from_pretrained(source.parent, local_files_only=True, trust_remote_code=False)
            model_class: Any = MODEL_MAPPING[type(config)]
    except (ValueError, OSError, TypeError, KeyError, AttributeError, ImportError) as error:
        reason = "" if isinstance(error, KeyError) else f" ({first_line(error)})"
        raise MusicrecError(f"{source}: transformers has no model of model_type={kind}{reason}") from None
    state = {
        name: value.float() if value.is_floating_point() else value
        for name, value in checkpoints.read(weights).items()
        if isinstance(value, Tensor)
    }
    try:
        with _quiet():
            model, info = model_class.from_pretrained(
                None, config=config, state_dict=state, ignore_mismatched_sizes=True, output_loading_info=True
            )
    except (ValueError, RuntimeError, TypeError, KeyError, AttributeError) as error:
        raise MusicrecError(f"{weights} does not fit {source} ({first_line(error)})") from None
    missing = sorted(name for name in info["missing_keys"] if not name.endswith(_DISPENSABLE))
    shapes = sorted(
        f"{name} {tuple(given)} instead of {tuple(wanted)}" for name, given, wanted in info["mismatched_keys"]
    )
    for what, names in (("wrong shapes:", shapes), ("missing", missing)):
        if names:
            raise MusicrecError(f"{weights} does not fit this model: {what} {checkpoints.some(names)}")
    return model.float().eval().requires_grad_(False), weights


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences transformers' progress bars and reports; what matters is said in one line by whoever calls."""
    from transformers.utils import logging  # noqa: PLC0415 - see the module's docstring

    level, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
