"""Ray: its session, nodes, actors and placement, and nodes that are about to go."""
