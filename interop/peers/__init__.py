"""One file per peer; each has a list `PEERS`. How to add one: README.md."""
