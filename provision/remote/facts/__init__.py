"""Facts: what is read of a rig before anything is decided. Ansible's, and deeprig's own."""
