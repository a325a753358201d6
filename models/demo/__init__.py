"""A small corpus in the layout of Aff-Wild2, made from a public-domain photograph."""
