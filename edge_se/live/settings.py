"""The file that a person edits: which devices, and how they are opened."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_se.errors import UserError
from edge_se.files import naming, read_text
from edge_se.live.alsa import FORMATS
from edge_se.live.limits import LIMITS
from edge_se.live.stream import MAX_LAG_HOPS
from edge_se.strength import PRESETS

_KINDS = {str: "text", int: "a whole number", bool: "true or false", float: "a number"}


@dataclass(frozen=True)
class LiveSettings:
    """How a live stream runs.

    Attributes:
        capture: ALSA's name of the microphone.
        playback: ALSA's name of the loudspeaker.
        rate: In Hz, of both.
        channels: Of both.
        format: Of both; one of `FORMATS`.
        channel: Which channel to enhance, from 1 on; 0 for the mean of all.
        max_lag: Hops that may wait before they are discarded.
        buffer_ms: Of the loudspeaker, in milliseconds.
        full_band: Whether what lies above the model's band comes out too.
        listener: Who listens, one of `PRESETS`, which says how much is taken away where the two
            below leave it open; empty for what the model says.
        max_attenuation: In dB: nothing is attenuated by more; None for what the listener needs.
        mix: Share of the input in the output; None for what the listener needs.
        model: Of the network; empty for the one of the command line.
    """

    capture: str = "default"
    playback: str = "default"
    rate: int = 16000
    channels: int = 1
    format: str = "s16le"
    channel: int = 0
    max_lag: int = MAX_LAG_HOPS
    buffer_ms: int = 20
    full_band: bool = True
    listener: str = ""
    max_attenuation: float | None = None
    mix: float | None = None
    model: str = ""


def read_settings(path: Path) -> LiveSettings:
    """Read a file of settings; those of a file that is not there are the defaults.

    Raises:
        UserError: It can't be read, or a value in it makes no sense.
    """
    if not path.exists():
        return LiveSettings()
    try:
        import tomllib  # type: ignore[import-not-found, unused-ignore]
    except ModuleNotFoundError:
        raise UserError(f"reading {path} needs Python 3.11; remove the file or upgrade") from None
    try:
        with naming(path, "read"):
            content = tomllib.loads(read_text(path))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no TOML ({error}); see docs/live/service.md") from None
    return _checked(content, path)


def _checked(content: dict[str, Any], path: Path) -> LiveSettings:
    defaults: dict[str, Any] = asdict(LiveSettings())
    kinds = {n: float if value is None else type(value) for n, value in defaults.items()}
    for name, value in content.items():
        if name not in kinds:
            raise UserError(f"{path} has a setting {name!r}; there are: {', '.join(kinds)}")
        wanted = _KINDS[kinds[name]]
        whole = kinds[name] is float and type(value) is int
        if type(value) is not kinds[name] and not whole:
            raise UserError(f"{name} in {path} has to be {wanted}, not {value!r}")
        if name in LIMITS and not LIMITS[name][0] <= value <= LIMITS[name][1]:
            low, high = LIMITS[name]
            raise UserError(f"{name} in {path} has to lie between {low} and {high}, not {value}")
    settings = LiveSettings(**content)
    if settings.format not in FORMATS:
        raise UserError(f"format in {path} has to be one of {', '.join(FORMATS)}")
    if settings.listener not in ("", *PRESETS):
        raise UserError(f"listener in {path} has to be one of {', '.join(PRESETS)}")
    if settings.channel > settings.channels:
        raise UserError(f"channel in {path} is {settings.channel} of {settings.channels}")
    if not settings.capture or not settings.playback:
        raise UserError(f'a device in {path} has no name; write "default"')
    return settings


def model_in(path: Path) -> Path:
    """The model that a path names: itself, or the one `model.*` in a release's folder.

    Raises:
        UserError: The folder holds none, or two.
    """
    if not path.is_dir():
        return path
    found = [path / f"model{suffix}" for suffix in (".tflite", ".so")]
    found = [one for one in found if one.is_file()]
    if len(found) != 1:
        raise UserError(f"{path} holds {len(found)} models; a release's folder holds one")
    return found[0]
