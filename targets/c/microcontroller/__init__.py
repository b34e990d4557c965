"""Microcontrollers: their cores as data, packages of sources for them, and emulated ones."""

from dataclasses import dataclass

from edge_se.errors import UserError

# Of the compiler, on every core.
OPTIONS = ("-O2", "-Wall", "-Wextra")


@dataclass(frozen=True)
class Machine:
    """A board that `qemu-system-arm` emulates, to run a package on.

    Attributes:
        name: QEMU's.
        code, data: Addresses of 512 KB or more, and of 128 KB.
        clock_mhz: Of the timer that counts instructions, one of which takes a nanosecond.
    """

    name: str
    code: int
    data: int
    clock_mhz: int


@dataclass(frozen=True)
class Core:
    """A microcontroller's core.

    Attributes:
        key: By which users name it.
        flags: Of gcc.
        machine: That emulates it.
        has_vectors: Whether it has Helium, for which weights lie by output.
    """

    key: str
    flags: str
    machine: Machine
    has_vectors: bool = False

    @property
    def name(self) -> str:
        """For people."""
        return f"Cortex-{self.key.removeprefix('cortex-').upper()}"


CORES = {
    core.key: core
    for core in (
        Core(
            "cortex-m4",
            "-mcpu=cortex-m4 -mthumb -mfloat-abi=soft",
            Machine("mps2-an386", 0x00000000, 0x20000000, 25),
        ),
        Core(
            "cortex-m7",
            "-mcpu=cortex-m7 -mthumb -mfloat-abi=soft",
            Machine("mps2-an500", 0x00000000, 0x20000000, 25),
        ),
        Core(
            "cortex-m33",
            "-mcpu=cortex-m33 -mthumb -mfloat-abi=soft",
            Machine("mps2-an505", 0x10000000, 0x38000000, 20),
        ),
        Core(
            "cortex-m55",
            "-mcpu=cortex-m55 -mthumb -mfloat-abi=hard",
            Machine("mps3-an547", 0x00000000, 0x20000000, 32),
            has_vectors=True,
        ),
    )
}


def is_microcontroller(key: str | None) -> bool:
    """Whether a board is one that takes a package."""
    return key is not None and key.startswith("cortex-m")


def find_core(key: str) -> Core:
    """A core by its key.

    Raises:
        UserError: There is none of that name.
    """
    if key not in CORES:
        raise UserError(f"unknown microcontroller {key!r}; choose one of: {', '.join(CORES)}")
    return CORES[key]
