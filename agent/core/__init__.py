"""Pure decisions of the agent: no clock, file, socket, log, asyncio or random in here."""
