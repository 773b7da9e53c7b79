"""Training in several processes that `torchrun` starts: gradients are averaged, decisions are shared, rank 0 writes.

Gradients are summed in one flat buffer after the backward pass. That is all that DistributedDataParallel would do here;
by hand it also works where a phase leaves half of the network out and where a batch is computed in parts.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among all."""

    rank: int = 0
    count: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0


def join_ranks(device_type: str) -> Ranks:
    """Meet the other processes if torchrun started this one (nccl on GPUs, else gloo)."""
    import torch.distributed as dist

    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ or int(os.environ["WORLD_SIZE"]) < 2:
        return Ranks()
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device_type == "cuda" else "gloo")
    return Ranks(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", "0")))


def leave_ranks(ranks: Ranks) -> None:
    """End what `join_ranks` began."""
    import torch.distributed as dist

    if ranks.count > 1 and dist.is_initialized():
        dist.destroy_process_group()


def average_gradients(parameters: Iterable["torch.Tensor"], ranks: Ranks) -> None:
    """Replace gradients by their mean over processes. All must have gradients for the same parameters."""
    _average([p.grad for p in parameters if p.grad is not None], ranks)


def average_statistics(network: Any, ranks: Ranks) -> None:
    """Make the running statistics of BatchNorm the same in all processes."""
    _average([value for name, value in network.named_buffers() if ".running_" in name], ranks)


def same_start(network: Any, ranks: Ranks) -> None:
    """Give all processes rank 0's weights."""
    import torch.distributed as dist

    if ranks.count > 1:
        for value in network.state_dict().values():
            dist.broadcast(value, 0)


def any_rank(flag: bool, device: "torch.device", ranks: Ranks) -> bool:
    """Whether the flag is up in any process: all stop at the same step."""
    import torch
    import torch.distributed as dist

    if ranks.count < 2:
        return flag
    told = torch.tensor(float(flag), device=device)
    dist.all_reduce(told, dist.ReduceOp.MAX)
    return bool(told.item())


def _average(tensors: list["torch.Tensor"], ranks: Ranks) -> None:
    import torch
    import torch.distributed as dist

    if ranks.count < 2 or not tensors:
        return
    flat = torch.cat([tensor.detach().float().reshape(-1) for tensor in tensors])
    dist.all_reduce(flat)
    flat /= ranks.count
    for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.detach().copy_(mean.view_as(tensor))
