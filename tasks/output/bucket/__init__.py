"""An output that stands in an object store: mirror, lease, conditional writes."""
