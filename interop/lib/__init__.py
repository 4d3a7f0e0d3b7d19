"""The harness: independent clients, processes, peers' stages, reports."""
