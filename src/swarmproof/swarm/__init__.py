"""A swarm: its nodes, a round, a trial."""
