"""AdamW: PyTorch's own arithmetic, without its class.

`torch.optim.AdamW` loads PyTorch's compiler at its first step, which takes a process as long as all of its networks' code; a
training or an update is a process of its own, so each of them would pay for that. The functions behind the class do not.

Loshchilov, Hutter: Decoupled weight decay regularization (arXiv 1711.05101).
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.adamw import adamw

EPSILON = 1e-8


class AdamW:
    """Moves parameters against their gradients. `groups` are parameters with the weight decay of each; `betas` are how much of
    the average gradient and of the average squared gradient stays at a step."""

    def __init__(
        self, groups: Sequence[tuple[Sequence[Tensor], float]], *, betas: tuple[float, float] = (0.9, 0.999)
    ) -> None:
        self._betas = betas
        self._groups = [_Group(list(parameters), decay) for parameters, decay in groups]

    def forget_gradients(self) -> None:
        """Before the next backward pass: gradients add up otherwise."""
        for group in self._groups:
            for parameter in group.parameters:
                parameter.grad = None

    def step(self, rate: float) -> None:
        """One step at a learning rate, by the gradients that the parameters have. One without a gradient stays as it is."""
        for group in self._groups:
            group.step(rate, self._betas)


class _Group:
    """Parameters of one weight decay, with their averages."""

    def __init__(self, parameters: list[Tensor], decay: float) -> None:
        self.parameters, self._decay = parameters, decay
        self._steps = [torch.tensor(0.0) for _ in parameters]
        self._gradient, self._square = ([torch.zeros_like(one) for one in parameters] for _ in range(2))

    def step(self, rate: float, betas: tuple[float, float]) -> None:
        moved = [i for i, parameter in enumerate(self.parameters) if parameter.grad is not None]
        columns = (self.parameters, self._gradient, self._square, self._steps)
        parameters, average, squared, steps = ([column[i] for i in moved] for column in columns)
        with torch.no_grad():
            adamw(
                parameters,
                [gradient for parameter in parameters if (gradient := parameter.grad) is not None],
                average,
                squared,
                [],
                steps,
                foreach=True,
                amsgrad=False,
                beta1=betas[0],
                beta2=betas[1],
                lr=rate,
                weight_decay=self._decay,
                eps=EPSILON,
                maximize=False,
            )
