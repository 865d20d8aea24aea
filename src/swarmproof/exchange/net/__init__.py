"""Nodes over a network that nobody has to trust: signed messages, and one view of each round.

    envelope.py    what a signature covers        keys.py       what a node signs with
    roster.py      public keys to nodes           agreement.py  what counts in a round; no network
    transport.py   serve, and ask peers           archive.py    what was agreed on, to be audited
    liars.py       nodes that lie, for research

The extra `net` installs what it needs. The rest of the package does not import it.
"""
