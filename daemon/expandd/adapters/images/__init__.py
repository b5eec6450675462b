"""Looking inside images, in child processes that a bad one may take along."""
