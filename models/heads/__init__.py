"""What is trained on embeddings: heads, and what is done to their outputs."""
