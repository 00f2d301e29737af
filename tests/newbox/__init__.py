"""A throw-away kind of box: what it takes to bring a new one into the house."""
