"""What people order: from the name of a file or folder to an order in the journal."""
