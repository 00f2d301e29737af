"""The archiver's HTTP room: what was recorded, for programs that ask by the protocols of others."""
