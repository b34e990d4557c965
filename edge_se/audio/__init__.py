"""Audio files: reading, writing, and enhancing a file of any length.

Everything is done in blocks (`AudioFile`, `writing`); `read` and `write` are for what fits into
memory. With the extra `audio` any format of libsndfile is handled; without it, 16-bit WAV.
"""

from edge_se.audio.formats import INSTALL_HINT, PCM_16, suffixes
from edge_se.audio.reading import BLOCK, AudioFile, AudioWarning, StereoFile
from edge_se.audio.recording import Recording, read, write
from edge_se.audio.writing import AudioWriter, writing

__all__ = [
    "BLOCK",
    "INSTALL_HINT",
    "PCM_16",
    "AudioFile",
    "AudioWarning",
    "AudioWriter",
    "Recording",
    "StereoFile",
    "read",
    "suffixes",
    "write",
    "writing",
]
