"""From a hint to a job: watching an inbox, settling its files, taking them."""
