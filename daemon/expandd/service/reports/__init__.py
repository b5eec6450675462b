"""What people are shown: the overview, the story of a file, the plan, the ledger. Nothing here changes anything."""
