"""Between which numbers settings of live sound may lie: of options, and of the file."""

from edge_se.strength import MOST_DB

# The least and the most.
LIMITS: dict[str, tuple[float, float]] = {
    "rate": (4000, 384_000),
    "channels": (1, 64),
    "channel": (0, 64),
    "max_lag": (1, 100_000),
    "buffer_ms": (4, 1000),
    "max_attenuation": (0, MOST_DB),
    "mix": (0, 1),
}
