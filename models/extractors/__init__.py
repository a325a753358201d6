"""Networks from face crops and waveforms to embeddings. One file each; specs are light, torch is imported on use."""
