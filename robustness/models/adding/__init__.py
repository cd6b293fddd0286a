"""Adding a model of the user's: what its file tells, and what it says of a few images."""
