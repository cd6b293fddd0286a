"""The command line: one file a command or family, its options and its action."""
