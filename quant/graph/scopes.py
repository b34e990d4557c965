"""Scopes of a graph: the parts of a network that a precision is chosen for, found by name.

Operators are named by where they are ("encoder.2.attention.gru.state"), so that a scope is a
pattern, in a recipe as in a report.
"""

import re
from dataclasses import dataclass

from quant.graph.graph import Graph, Operator

# The first that matches an operator's name gives its scope, as its group.
_LABELS = (
    r"\.(attention)\.",
    r"^(\w+\.\d+)\.",
    r"^(\w+\.(?:intra|inter))[._]",
    r"^(\w+)",
)
STATES = "states"


@dataclass(frozen=True)
class Scope:
    """A part of a network.

    Attributes:
        name: for people: "features", "encoder.2", "dpgrnn1.intra", "attention" (of all blocks),
            "states" (whatever computes what is carried to the next frame), ...
        pattern: matches the scopes of its operators, or the name of an input signal.
    """

    name: str
    pattern: str

    def holds(self, operator: Operator) -> bool:
        """Whether an operator is part of it."""
        return re.search(self.pattern, operator.scope) is not None


def find_scopes(graph: Graph) -> list[Scope]:
    """The scopes of a graph in the order of computation, the states last.

    Each operator that computes something belongs to one of them; those that a state follows from
    belong to the states besides.
    """
    labels = [value.name for value in graph.inputs]
    computing = [op for op in graph.operators if not (op.keeps_encoding or op.rule.outside)]
    for operator in computing:
        label = _label(operator.scope)
        if label not in labels:
            labels.append(label)
    carried = [re.escape(operator.scope) for operator in _carriers(graph)]
    found = [Scope(label, _pattern(label, computing)) for label in labels]
    return [*found, Scope(STATES, f"^({'|'.join(carried)})$")] if carried else found


def _label(name: str) -> str:
    return next(found[1] for pattern in _LABELS if (found := re.search(pattern, name)))


def _pattern(label: str, operators: list[Operator]) -> str:
    if label == "attention":
        return r"\.attention\."
    pattern = rf"^{re.escape(label)}([._]|$)"
    strangers = any(re.search(pattern, op.scope) and _label(op.scope) != label for op in operators)
    return rf"{pattern}(?!.*\battention\.)" if strangers else pattern


def _carriers(graph: Graph) -> list[Operator]:
    """Operators whose results are carried, through others that only move values, to a frame."""
    producer = {value: op for op in graph.operators for value in op.outputs}
    waiting = [state.source or state.output for state in graph.states]
    found: dict[Operator, None] = {}
    while waiting:
        operator = producer.get(waiting.pop(0))
        if operator is None:
            continue
        if operator.keeps_encoding:
            waiting += operator.inputs
        else:
            found[operator] = None
    return list(found)
