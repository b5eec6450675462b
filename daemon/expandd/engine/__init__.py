"""Second floor: asyncio. Knows the domain and its own ports, never an adapter."""
