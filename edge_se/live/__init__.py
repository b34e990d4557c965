"""Live audio: from a microphone or a pipe to a loudspeaker or a pipe, in time.

`stream.py` runs between a source and a sink: pipes (`pipes.py`), or devices through programs that
serve them (`devices.py`, with those of ALSA in `alsa.py` and of PipeWire in `pulse.py`). Beside it:
how samples are written as bytes (`pcm.py`), the way from a device's samples to enhanced ones
(`path.py`), whether a source keeps real time (`pace.py`), two clocks that differ (`drift.py`), what
is told (`status.py`, `notify.py`), how late sound is (`latency.py`), which settings make sense
(`settings.py`, `limits.py`), and that other programs wait (`priority.py`).
"""
