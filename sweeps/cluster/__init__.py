"""Ray: its session, its nodes, our actors and their placement, and nodes that will be taken down."""
