"""Weight files: the registry, the restricted unpickler, and parameters kept by digest."""
