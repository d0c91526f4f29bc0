"""Embeddings, linear layers and distances, with the signatures of ``torch.nn.functional``."""
