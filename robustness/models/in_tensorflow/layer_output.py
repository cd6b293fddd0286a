"""Where a layer's output lies within a functional network."""

from __future__ import annotations

from typing import Any


def layer_output(network: Any, layer: Any) -> Any:
    """What ``layer`` gives within the functional ``network``; None unless it is used once there.

    A layer of a sequential or nested model has outputs outside of this network as well.
    """
    ours = [node for nodes in network._nodes_by_depth.values() for node in nodes]
    within = [node for node in layer._inbound_nodes if any(node is other for other in ours)]
    return within[0].outputs[0] if len(within) == 1 and len(within[0].outputs) == 1 else None
