"""Scopes of a graph: the parts of a network that a precision is chosen for, found by name.

Operators are named by where they are ("encoder.2.attention.gru.state"), so that a scope is a
pattern, in a recipe as in a report.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from quant.graph.graph import Graph, Operator

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


def find_scopes(graph: Graph, labels: Sequence[str]) -> list[Scope]:
    """The scopes of a graph in the order of computation, the states last.

    The first of the patterns `labels` that is found in an operator's name gives its scope, as its
    group (see `quant.networks.network.Network.scopes`). Each operator that computes something
    belongs to one of them; those that a state follows from belong to the states besides.
    """

    def label_of(operator: Operator) -> str:
        found = (re.search(pattern, operator.scope) for pattern in labels)
        return next((match[1] for match in found if match), operator.scope)

    computing = [op for op in graph.operators if not (op.keeps_encoding or op.rule.outside)]
    members = {value.name: list[str]() for value in graph.inputs}
    for operator in computing:
        members.setdefault(label_of(operator), []).append(operator.scope)
    carried = [re.escape(operator.scope) for operator in _carriers(graph)]
    found = [Scope(label, _pattern(label, members)) for label in members]
    return [*found, Scope(STATES, f"^({'|'.join(carried)})$")] if carried else found


def _pattern(label: str, members: Mapping[str, Sequence[str]]) -> str:
    """A pattern that matches the members of a label and no others."""
    inside = rf"\.{re.escape(label)}\."
    if members[label] and all(re.search(inside, name) for name in members[label]):
        return inside
    pattern = rf"^{re.escape(label)}([._]|$)"
    strangers = [
        re.escape(other)
        for other, names in members.items()
        if other != label and any(re.search(pattern, name) for name in names)
    ]
    if not strangers:
        return pattern
    excluded = strangers[0] if len(strangers) == 1 else f"(?:{'|'.join(strangers)})"
    return rf"{pattern}(?!.*\b{excluded}\.)"


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
