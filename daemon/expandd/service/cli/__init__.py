"""What people type: verbs, options, help pages, completion."""
