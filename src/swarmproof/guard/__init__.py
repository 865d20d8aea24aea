"""Between what is gathered and what is learnt from: verdicts, and what they do to advantages."""
