"""Servers in layers: what an edge server makes of its clients is its answer to the server above it."""

from .plain import Reply, Task
from .server import Server


def edge_reply(server: Server, task: Task) -> Reply:
    """The answer of a server that was started with the weights of this task and has closed rounds since.

    update = its weights now - the task's; weight = the examples that counted in its last round. With the plain mean on each layer and one round at
    the edges, the top gets what it would get from all clients at once.

    Args:
        server: of the edge: `Server(task.weights, strategy, its clients)`.
        task: of the server above.

    >>> from loomweight.federate import Strategy
    >>> task = Task("edge", 0, {"w": torch.zeros(1)})
    >>> edge = Server(task.weights, Strategy(), ["a", "b"])
    >>> for below in edge.tasks():
    ...     refused = edge.push(Reply(below.client, 0, {"w": torch.ones(1)}, weight=3.0))
    >>> line = edge.close()
    >>> edge_reply(edge, task).weight
    6.0
    """
    update = {name: server.weights[name] - tensor for name, tensor in task.weights.items()}
    weight = server.history[-1]["weight"] if server.history else 0.0
    return Reply(task.client, task.round, update, float(weight), number=task.number)
