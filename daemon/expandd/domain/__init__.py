"""Ground floor: values and rules. No I/O, no clock, no asyncio, nothing third-party."""
