"""The command line: verbs, options, help pages, completion."""
