"""The test harness: independent clients, child processes, sandboxes and reports."""
