"""`fab adopt`: from an address and a password to a rig that is managed by key."""
