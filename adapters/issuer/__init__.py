"""Direct issuers: they dial in and answer on a stream. Messages, their meaning, the hub of live links, the channel."""
