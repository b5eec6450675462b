"""Looking inside pictures, in child processes that a bad one may take along."""
