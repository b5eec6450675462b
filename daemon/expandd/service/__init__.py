"""Top floor: what a person or systemd meets, and the only place where adapters meet the engine."""
