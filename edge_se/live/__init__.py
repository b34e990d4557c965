"""Live audio: from a microphone or a pipe to a loudspeaker or a pipe, in time.

`stream.py` runs between pipes. Beside it: how samples are written as bytes (`pcm.py`), the way from
a device's samples to enhanced ones (`path.py`), and whether a source keeps real time (`pace.py`).
"""
