"""Arguments that several commands share, and the kinds of values that arguments have.

Every option with a value has one of these kinds, or choices: a kind refuses what makes no sense
before any work is done.
"""

import argparse
import math
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_se.engines import AUTO, ENGINES, MICRO, RUNTIMES
from edge_se.errors import UserError
from edge_se.files import STANDARD, find_named, require_folder, require_writable, status_of
from edge_se.manifest import STFTS
from edge_se.strength import FULL, MOST_DB, PRESETS, Strength

if TYPE_CHECKING:
    from edge_se.enhancer import Enhancer
    from edge_se.live.settings import LiveSettings

MOST = 10**9  # of things that are counted
MOST_MINUTES = 1e6  # two years
MOST_PROCESSES = 1024


@dataclass(frozen=True)
class Number:
    """A kind of option: a number between two others.

    Attributes:
        kind: int or float.
        low: The smallest one allowed.
        high: The largest one allowed.
        beyond_low: Whether it has to be larger than `low`.
    """

    kind: type[int] | type[float]
    low: float
    high: float
    beyond_low: bool = False

    def __call__(self, text: str) -> float:
        """The number in a text; ArgumentTypeError where it is none or lies outside."""
        try:
            value = self.kind(text)
            if self.kind is float and not math.isfinite(value):
                raise ValueError
        except ValueError:
            what = "whole number" if self.kind is int else "number"
            raise argparse.ArgumentTypeError(f"{_shown(text)} is no {what}") from None
        if value < self.low or (self.beyond_low and value == self.low):
            least = f"more than {self.low:g}" if self.beyond_low else f"{self.low:g} or more"
            what = "not a positive number" if self.beyond_low and not self.low else f"not {least}"
            raise argparse.ArgumentTypeError(f"{_shown(text)} is {what}")
        if value > self.high:
            raise argparse.ArgumentTypeError(f"{_shown(text)} is not {self.high:g} or less")
        return value


def positive_int(most: int = MOST) -> Number:
    """A kind of option: whole numbers from 1 on."""
    return Number(int, 1, most)


def count(most: int = MOST) -> Number:
    """A kind of option: whole numbers from 0 on."""
    return Number(int, 0, most)


def positive_float(most: float = sys.float_info.max) -> Number:
    """A kind of option: numbers above 0."""
    return Number(float, 0, most, beyond_low=True)


weight = Number(float, 0, 1e6)  # of a part of a loss, beside others of about 1


def word(text: str) -> str:
    """A kind of option: any text but none."""
    if not text:
        raise argparse.ArgumentTypeError("its value is empty")
    return text


@dataclass(frozen=True)
class InputPath:
    """A kind of option: a file or folder that is read; no pipe, whose writer may never come.

    Attributes:
        named: Gives what has a name of its own. Such a name comes first: a file that is called so
            is found by another path, as in `./gtcrn`.
    """

    named: Callable[[], Mapping[str, Path]] = dict

    def __call__(self, text: str) -> Path:
        """The path that a text means; ArgumentTypeError where it is empty."""
        return find_named(word(text), self.named())


def _models() -> Mapping[str, Path]:
    from edge_se.model_file import built_in_models

    return built_in_models()


input_path, model_path = InputPath(), InputPath(_models)


def audio_path(text: str) -> Path:
    """A kind of argument: recordings, which may be a pipe or `-`; who reads them looks at them."""
    return Path(word(text))


def output_file(text: str) -> Path:
    """A kind of option: a file that is written; `-` is standard output where JSON is written."""
    return Path(word(text))


def output_folder(text: str) -> Path:
    """A kind of option: a folder that files are written into."""
    return Path(word(text))


OUTPUTS = (output_file, output_folder)


def is_path(kind: Any) -> bool:
    """Whether values of this kind are paths that `check_paths` looks at."""
    return isinstance(kind, InputPath) or kind in OUTPUTS


def check_paths(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Look at what a command's paths name before it does any work.

    Raises:
        UserError: An input can't be looked at or is a pipe, an output can't be written, or an
            output is one of the inputs, or of the clips in an input folder, or another output.
    """
    inputs = list(_given(parser, arguments, lambda kind: isinstance(kind, InputPath)))
    for path in inputs:
        status = status_of(path, "read")
        if status is not None and not (
            stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
        ):
            raise UserError(f"{path} is neither a file nor a folder; copy what it holds to a file")
    for path in _given(parser, arguments, lambda kind: kind is output_folder):
        require_folder(path)
    taken = [*inputs, *_default_model(arguments)]
    for path in _given(parser, arguments, lambda kind: kind is output_file):
        if str(path) != STANDARD:
            check_output(path, taken)
            taken.append(path)


def check_output(path: Path, taken: Iterable[Path]) -> None:
    """Look at what a file to write names.

    Args:
        path: Of the file.
        taken: Other files of the same command, and folders of clips.

    Raises:
        UserError: It can't be written, or is one of the others.
    """
    require_writable(path)
    for other in taken:
        if _is_same(path, other) or _is_clip_of(path, other):
            raise UserError(
                f"writing {path} would overwrite what this command reads or writes as {other}; "
                "give another name"
            )


def add_full_band(parser: argparse.ArgumentParser) -> None:
    """Add `--full-band` and `--no-full-band`."""
    parser.add_argument(
        "--full-band",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep what lies above half the model's rate, attenuated as the model attenuates what "
        "lies just below (default: yes, where the input's rate is higher than the model's)",
    )


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--model`, `--engine`, `--runtime` and `--stft`."""
    parser.add_argument(
        "--model",
        type=model_path,
        metavar="FILE",
        help="model made by `edge-se quantize` or `edge-se convert`, or the name of a built-in one "
        "(default: ul_unas)",
    )
    parser.add_argument(
        "--engine",
        choices=(AUTO, *ENGINES),
        help="what runs the model (default: auto, which is C where it computes what the file does, "
        "else by the file's suffix); c runs a .so of `edge-se compile`, and a .tflite that carries "
        "weights for it",
    )
    parser.add_argument(
        "--runtime",
        choices=(*RUNTIMES, MICRO),
        help="TFLite interpreter (default: the first of these that is installed; tflite_micro is "
        "what microcontrollers run, and slow)",
    )
    parser.add_argument(
        "--stft",
        choices=STFTS,
        help="STFT in float32, or in integers from int16 samples to int16 samples, which needs a "
        "full INT8 model (default: what the model says)",
    )


def add_strength_arguments(
    parser: argparse.ArgumentParser, default: str = "what the model says, mostly"
) -> None:
    """Add `--for`, `--max-attenuation` and `--mix`."""
    parser.add_argument(
        "--for",
        dest="listener",
        choices=tuple(PRESETS),
        help="who listens, which sets how much is taken away where the two options below leave it "
        "open: recogniser, for words rather than for ears",
    )
    parser.add_argument(
        "--max-attenuation",
        type=Number(float, 0, MOST_DB),
        metavar="DB",
        help=f"attenuate nothing by more (default: {default} no limit)",
    )
    parser.add_argument(
        "--mix",
        type=Number(float, 0, 1),
        metavar="SHARE",
        help=f"share of the input in the output, 0 to 1, aligned to the sample (default: {default} "
        "0)",
    )


def asked_enhancer(arguments: argparse.Namespace) -> "Enhancer":
    """The enhancer that these arguments and those of the model ask for.

    Raises:
        UserError: The model can't be loaded.
    """
    from edge_se.enhancer import Enhancer

    enhancer = Enhancer(arguments.model, arguments.engine, arguments.runtime, arguments.stft)
    enhancer.strength = asked_strength(arguments, enhancer.strength)
    return enhancer


def asked_strength(
    arguments: "argparse.Namespace | LiveSettings", default: Strength = FULL
) -> Strength:
    """What these arguments or settings ask for; of what they leave open, the default."""
    default = PRESETS[arguments.listener] if arguments.listener else default
    limit, mix = arguments.max_attenuation, arguments.mix
    return Strength(
        default.max_attenuation_db if limit is None else limit,
        default.mix if mix is None else mix,
    )


def option_of(name: str) -> str:
    """The option whose value has this name in the namespace."""
    return "--for" if name == "listener" else f"--{name.replace('_', '-')}"


def _given(
    parser: argparse.ArgumentParser, arguments: argparse.Namespace, fits: Callable[[Any], bool]
) -> Iterator[Path]:
    """The paths that were given of the kinds that fit."""
    for action in parser._actions:
        if fits(action.type):
            value = getattr(arguments, action.dest, None)
            yield from value if isinstance(value, list) else [value] if value is not None else []


def _default_model(arguments: argparse.Namespace) -> Iterator[Path]:
    """The built-in model, where a command reads it because it was given no other."""
    if getattr(arguments, "model", "") is None:
        from edge_se.model_file import default_model_path

        yield default_model_path()


def _is_same(path: Path, other: Path) -> bool:
    """Whether two names are of one file, which may be still to be written; never of a device."""
    if not (path.exists() and other.exists()):
        return path.resolve() == other.resolve()
    return path.samefile(other) and path.is_file()


def _is_clip_of(path: Path, folder: Path) -> bool:
    """Whether a file is a recording in a folder or below."""
    if not (path.is_file() and folder.is_dir() and path.resolve().is_relative_to(folder.resolve())):
        return False
    from edge_se.audio import suffixes

    return path.suffix.lower() in suffixes()


def _shown(text: str) -> str:
    """A value as an error shows it: nothing is seen, and much is cut."""
    return repr(text) if len(text) <= 40 and (not text or text.isspace()) else text[:40]
