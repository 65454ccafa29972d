"""Pure decisions on frozen values: no clock, database, socket, log or random in here."""
