"""What people are shown: the overview, the history of a file, the plan, the ledger. Nothing here changes anything."""
