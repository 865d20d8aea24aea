"""Find poison in rollouts that a trainer has already written; nothing that is read is executed."""
