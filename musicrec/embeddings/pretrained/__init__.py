"""What embeddings from pretrained networks share: checkpoints, layers, pooling over time."""
