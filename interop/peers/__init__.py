"""The peers: one file each, with a list `PEERS`. README.md describes how to add one."""
