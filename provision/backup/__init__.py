"""What provisioning kept of a rig before it changed it: on the rig, and here."""
