"""Every protocol x transport x security that a node's Xray serves, tried by real clients."""
