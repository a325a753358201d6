"""One file a command. Each one's docstring is its help, with an example."""
