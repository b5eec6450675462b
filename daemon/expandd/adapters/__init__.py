"""First floor: one outside thing each; foreign errors are translated here."""
