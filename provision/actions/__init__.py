"""What the operator's side does itself: one file per Ansible action, with OPTIONS and `act`."""
