"""PyTorch's names for ddpnet: `import torch` that gives ddpnet (`finder`), and errors about names that are missing."""
