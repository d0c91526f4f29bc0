"""``torch.torch_version``: where PyTorch keeps `TorchVersion`."""

from .version import TorchVersion, __version__

__all__ = ["TorchVersion", "__version__"]
