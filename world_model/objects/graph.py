"""A set of objects as a fully connected graph, read by rounds of messages (Battaglia et al. 2018).

Source: 'Relational inductive biases, deep learning, and graph networks', arXiv 1806.01261, section 3; as the
agents of Bapst, Sanchez-Gonzalez et al. 2019 read their scenes (arXiv 1904.03177, section 4).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from world_model.nets import MLP, Linear, RMSNorm
from world_model.objects.places import CODE, PlacedMLP


class Messages(nn.Module):
    """One round: every edge looks at its two ends, then every node at the sum of what arrives.

    e_ij <- f_e([e_ij, v_i, v_j]) and v_j <- v_j + f_v([v_j, sum_i e_ij]), from sender i to receiver j (eq. 1;
    that a node adds to what it was is Sanchez-Gonzalez et al. 2020's, arXiv 2002.09405).

    Args:
        width: of nodes and edges.
        first: edges have nothing to tell yet.
    """

    def __init__(self, width: int, first: bool) -> None:
        super().__init__()
        # f_e is one layer on [edge, sender, receiver], written as three so that each node is projected once.
        parts = 2 if first else 3
        self.sender = Linear(width, width, fan_in=parts * width)
        self.receiver = Linear(width, width, bias=False, fan_in=parts * width)
        self.edge = None if first else Linear(width, width, bias=False, fan_in=parts * width)
        self.norm = RMSNorm(width)
        self.node = MLP(2 * width, width, 1)

    def forward(self, nodes: Tensor, edges: Tensor | None, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """Nodes (..., n, W) and edges (..., n, n, W), by sender and receiver, after the round.

        Args:
            nodes: (..., n, W).
            edges: (..., n, n, W); None in the first round.
            pairs: 1 where both ends of an edge exist, (..., n, n, 1).
        """
        seen = self.sender(nodes)[..., :, None, :] + self.receiver(nodes)[..., None, :, :]
        if self.edge is not None and edges is not None:
            seen = seen + self.edge(edges)
        edges = F.silu(self.norm(seen))
        arrived = (edges * pairs).sum(-3)  # (..., n, W)
        return nodes + self.node(torch.cat([nodes, arrived], -1)), edges


class Graph(nn.Module):
    """What the objects of a scene are together: f_u(sum_i v_i * (1 + W code_i)) after the last round.

    In whatever order they come the embedding is the same, and its weights serve any number. The code of a
    place is among what an object starts with and, which is ours, multiplies it in the sum: added up alone,
    rows that change places are hardly told apart before anything is learned.

    Args:
        inputs: width of an object's attributes.
        width: W of nodes and edges.
        rounds: of messages, each with its own weights.
        outputs: width of the embedding.
    """

    def __init__(self, inputs: int, width: int, rounds: int, outputs: int) -> None:
        super().__init__()
        self.first = PlacedMLP(inputs, width, 1)
        self.rounds = nn.ModuleList(Messages(width, first=index == 0) for index in range(rounds))
        self.bound = Linear(CODE, width, bias=False)
        self.whole = MLP(width, outputs, 1)

    def forward(self, objects: Tensor, codes: Tensor, exists: Tensor) -> Tensor:
        """Embedding (..., outputs) of a scene.

        Args:
            objects: attributes, (..., n, inputs).
            codes: of their places, (n, Q); zeros where places mean nothing.
            exists: 1 for those that are there, 0 for others, (..., n).
        """
        there = exists[..., None]  # (..., n, 1)
        apart = 1 - torch.eye(objects.shape[-2], dtype=exists.dtype, device=exists.device)
        pairs = there[..., :, None, :] * there[..., None, :, :] * apart[..., None]  # (..., n, n, 1)
        nodes, edges = self.first(objects, codes), None
        for messages in self.rounds:
            nodes, edges = messages(nodes, edges, pairs)
        bound = nodes * (1 + self.bound(codes))
        return self.whole((bound * there).sum(-2))
