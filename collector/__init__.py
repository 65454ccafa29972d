"""The collector: holds users, quotas, nodes and the decisions; agents report to it and ask what to serve."""
