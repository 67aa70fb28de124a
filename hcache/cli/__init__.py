"""The command line: thin. Each command parses, calls one function, and prints."""
