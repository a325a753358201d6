"""What runs a face network's forward pass: one interface, several engines; which one is part of every key."""
