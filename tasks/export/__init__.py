"""Results as tables that other programs open."""
